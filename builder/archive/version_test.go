// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"os/exec"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// versionPairs are pairs of versions, the older first.
var versionPairs = [][2]string{
	{"1.0", "1.1"},
	{"1.9", "1.10"},
	{"1.0~rc1", "1.0"},
	{"1.0~~", "1.0~"},
	{"1.0~~", "1.0~~a"},
	{"1.0~rc1-1", "1.0-1~bpo12+1"},
	{"1.0-1~bpo12+1", "1.0-1"},
	{"1.0", "1.0-1"},
	{"1.0-1", "1.0-1+b1"},
	{"1.0-1", "1.0-1+deb12u1"},
	{"1.0-1+deb12u1", "1.0-1+deb12u10"},
	{"1.0", "1.0+dfsg"},
	{"1.0+dfsg", "1.0+dfsg1"},
	{"1.0a", "1.0+"},
	{"1.0a", "1.0b"},
	{"1.0", "1.0a"},
	{"1.0Z", "1.0a"},
	{"1.0+", "1.0."},
	{"2.0", "1:1.0"},
	{"1:9", "10:1"},
	{"1.0-1-1", "1.0-1-2"},
	{"0.9.99999999999999999999999999", "0.9.100000000000000000000000000"},
	{"6.12.48-1", "6.12.57-1"},
}

func TestCompareVersionsFollowsManual(t *testing.T) {
	t.Parallel()
	for _, pair := range versionPairs {
		if c := CompareVersions(pair[0], pair[1]); c >= 0 {
			t.Errorf("%q and %q: got %d, want less than 0", pair[0], pair[1], c)
		}
		if c := CompareVersions(pair[1], pair[0]); c <= 0 {
			t.Errorf("%q and %q: got %d, want more than 0", pair[1], pair[0], c)
		}
	}
	for _, pair := range [][2]string{{"1.0", "1.00"}, {"1", "0:1"}, {"1-0", "1"}, {"1.0-", "1.0-0"}, {"0", ""}} {
		if c := CompareVersions(pair[0], pair[1]); c != 0 {
			t.Errorf("%q and %q: got %d, want 0", pair[0], pair[1], c)
		}
	}
}

func TestCompareVersionsAgreesWithDpkg(t *testing.T) {
	t.Parallel()
	dpkg := diskimagetest.Tool(t, "dpkg")
	for _, pair := range versionPairs {
		if err := exec.Command(dpkg, "--compare-versions", pair[0], "lt", pair[1]).Run(); err != nil {
			t.Errorf("dpkg says that %q is not older than %q: %v", pair[0], pair[1], err)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	for _, pair := range versionPairs {
		f.Add(pair[0], pair[1], "1.0-1")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		sign := func(n int) int { return min(1, max(-1, n)) }
		ab, ba := sign(CompareVersions(a, b)), sign(CompareVersions(b, a))
		if ab != -ba {
			t.Errorf("%q and %q: %d one way, %d the other", a, b, ab, ba)
		}
		if CompareVersions(a, a) != 0 {
			t.Errorf("%q is not equal to itself", a)
		}
		if bc := sign(CompareVersions(b, c)); ab == bc && ab != 0 && sign(CompareVersions(a, c)) != ab {
			t.Errorf("%q, %q, %q: not transitive", a, b, c)
		}
	})
}
