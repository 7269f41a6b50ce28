// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"testing"
)

func TestXFSHasTheFeaturesOfItsRelease(t *testing.T) {
	t.Parallel()
	for codename, want := range map[string]string{
		"buster": "4.19", "bullseye": "5.10", "jammy": "5.10", "bookworm": "6.1", "noble": "6.1", "trixie": "6.12",
		"sid": "6.12", "unknown": "6.12",
	} {
		if got := Features("xfs", codename); got != want {
			t.Errorf("%s: got the features of Linux %s, want %s", codename, got, want)
		}
	}
}

func TestExt4HasTheFeaturesOfItsRelease(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"lenny": "1.42", "wheezy": "1.42", "jessie": "1.42", "stretch": "1.42", "buster": "1.44", "bullseye": "1.44",
		"bookworm": "1.44",
		"trixie":   "1.47", "forky": "1.47", "duke": "1.47", "sid": "1.47", "kali-rolling": "1.44", "lucid": "1.42",
		"trusty": "1.42",
		"xenial": "1.42", "artful": "1.42", "bionic": "1.44", "jammy": "1.44", "noble": "1.44", "oracular": "1.44",
		"plucky": "1.47", "resolute": "1.47",
	}
	for codename, want := range tests {
		if got := Features("ext4", codename); got != want {
			t.Errorf("%s: got the features of e2fsprogs %q, want %q", codename, got, want)
		}
	}
	for _, fstype := range []string{"ext2", "f2fs", "vfat", "btrfs"} {
		if got := Features(fstype, "trixie"); got != "" {
			t.Errorf("%s: got features %q, want none", fstype, got)
		}
	}
}

// TestEachTypeHasOneWriter checks that each type has a Formatter or a Program, and a size if it can be /.
func TestEachTypeHasOneWriter(t *testing.T) {
	t.Parallel()
	for name, kind := range types {
		if (kind.Formatter == nil) == (kind.Program == nil) {
			t.Errorf("%s: got formatter %v and program %v, want one of them", name, kind.Formatter, kind.Program)
		}
		if kind.Program != nil && kind.Package == "" {
			t.Errorf("%s: no package for its program", name)
		}
		if kind.Root && !kind.ReadOnly && kind.minimum == nil {
			t.Errorf("%s can be / but has no minimum size for --size=auto", name)
		}
	}
}
