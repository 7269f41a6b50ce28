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

func filesystem(fsType, release string) diskimage.Filesystem {
	return diskimage.Filesystem{
		Type: fsType, Features: release, Label: "rootfs", UUID: testUUID, Seed: testSeed, Time: fstest.Time,
	}
}

// kind is a type with a set of features.
type kind struct{ fsType, release string }

func (k kind) String() string { return k.fsType + k.release }

// unfit reports whether a size is not for this kind: ext3 has to have a journal, and where descriptors have no checksum
// the tools read or write all inode tables, which takes long.
func (k kind) unfit(size diskimage.Size) bool {
	return k.fsType == "ext3" && size < 8*diskimage.MiB || k.fsType != "ext4" && size > 6*diskimage.GiB
}

var kinds = []kind{{"ext2", ""}, {"ext3", ""}, {"ext4", "1.42"}, {"ext4", "1.44"}, {"ext4", "1.47"}}

// fsckClean lets e2fsck look, and allows it to say nothing but that all is well.
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

// smallTree has one of everything and fits into 2 MiB.
func smallTree() fstest.Tree {
	return fstest.Small(2200, fstest.Link("etc/t59", strings.Repeat("a", 59)),
		fstest.Link("etc/t60", strings.Repeat("b", 60)))
}
