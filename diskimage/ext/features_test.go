// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

func TestFeaturesFollowTheGeneration(t *testing.T) {
	t.Parallel()
	tests := map[string]features{"": ext4Oldest, E2fsprogs142: ext4Oldest, E2fsprogs144: ext4Checksums,
		E2fsprogs147: ext4Newest}
	for generation, want := range tests {
		if got, err := featuresOf("ext4", generation); err != nil || got != want {
			t.Errorf("ext4 of %q: got %#x, %v, want %#x", generation, got, err, want)
		}
		if got, err := featuresOf("ext2", generation); err != nil || got != baseFeatures {
			t.Errorf("ext2 of %q: got %#x, %v", generation, got, err)
		}
	}
	if _, err := featuresOf("ext4", "trixie"); err == nil ||
		!strings.Contains(err.Error(), `"trixie" of ext4; want one of 1.42, 1.44, 1.47`) {
		t.Errorf("got %v", err)
	}
}

// The table in features.go documents the sets, which are what is written.
func TestFeaturesAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("features.go")
	if err != nil {
		t.Fatal(err)
	}
	bits := map[string]features{
		"sparse_super": {roCompat: disk.ROCompatSparseSuper}, "large_file": {roCompat: disk.ROCompatLargeFile},
		"filetype": {incompat: disk.IncompatFiletype}, "ext_attr": {compat: disk.CompatExtAttr},
		"dir_index": {compat: disk.CompatDirIndex}, "resize_inode": {compat: disk.CompatResizeInode},
		"has_journal": {compat: disk.CompatHasJournal}, "extent": {incompat: disk.IncompatExtents},
		"flex_bg": {incompat: disk.IncompatFlexBG}, "huge_file": {roCompat: disk.ROCompatHugeFile},
		"dir_nlink": {roCompat: disk.ROCompatDirNlink}, "extra_isize": {roCompat: disk.ROCompatExtraIsize},
		"uninit_bg": {roCompat: disk.ROCompatGDTCsum}, "64bit": {incompat: disk.Incompat64Bit},
		"metadata_csum": {roCompat: disk.ROCompatMetadataCsum}, "metadata_csum_seed": {incompat: disk.IncompatCsumSeed},
		"orphan_file": {compat: disk.CompatOrphanFile},
	}
	want := []features{baseFeatures, ext3Features, ext4Oldest, ext4Checksums, ext4Newest}
	got := make([]features, len(want))
	lines := regexp.MustCompile(`(?m)^//\t(\w+) +([x-]) ([x-]) ([x-]) ([x-]) ([x-])  `).FindAllStringSubmatch(
		string(source), -1)
	if len(lines) != len(bits) {
		t.Errorf("%d features in the table, want %d", len(lines), len(bits))
	}
	for _, line := range lines {
		for i, mark := range line[2:] {
			if mark == "x" {
				got[i] = got[i].with(bits[line[1]])
			}
		}
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("column %d: the table has %#x, the code %#x", i, got[i], want[i])
		}
	}
}
