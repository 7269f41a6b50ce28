// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var testUUID = uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
var testSeed = uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")

func filesystem(fsType, generation string) diskimage.Filesystem {
	return diskimage.Filesystem{
		Type: fsType, Features: generation, Label: "rootfs", UUID: testUUID, Seed: testSeed, Time: fstest.Time,
	}
}

// kind is a type with a set of features.
type kind struct{ fsType, generation string }

func (k kind) String() string { return k.fsType + k.generation }

// skips reports whether a size is left out for this kind: ext3 needs a journal, and without
// checksums of descriptors the tools read or write all inode tables, which takes long.
func (k kind) skips(size diskimage.Size) bool {
	return k.fsType == "ext3" && size < 8*diskimage.MiB || k.fsType != "ext4" && size > 6*diskimage.GiB
}

var kinds = []kind{{"ext2", ""}, {"ext3", ""}, {"ext4", "1.42"}, {"ext4", "1.44"}, {"ext4", "1.47"}}

// fsckClean runs e2fsck and fails the test if it prints any complaint.
func fsckClean(t testing.TB, image string) {
	t.Helper()
	out := diskimagetest.Run(t, "e2fsck", "-fn", image)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") && strings.TrimSpace(line) != "" {
			t.Errorf("e2fsck: %s", line)
		}
	}
}

// write plans and writes a file system into a new file.
func write(t testing.TB, size diskimage.Size, fs diskimage.Filesystem, tree diskimage.Tree) string {
	t.Helper()
	v, err := Formatter{}.Plan(size, fs, tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", fs.Type, size, err)
	}
	return fstest.WriteVolume(t, size, v)
}

// smallTree returns a tree with one of everything that fits into 2 MiB.
func smallTree() fstest.Tree {
	return fstest.Small(2200, fstest.Link("etc/t59", strings.Repeat("a", 59)),
		fstest.Link("etc/t60", strings.Repeat("b", 60)))
}
