// SPDX-License-Identifier: Apache-2.0

package f2fs

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var testUUID = uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
var testSeed = uuid.MustParse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")

func filesystem() diskimage.Filesystem {
	return diskimage.Filesystem{Type: Type, Label: "rootfs ü 🐧", UUID: testUUID, Seed: testSeed, Time: fstest.Time}
}

// write plans and writes a file system into a new file.
func write(t testing.TB, size diskimage.Size, tree diskimage.Tree) string {
	t.Helper()
	v, err := Formatter{}.Plan(size, filesystem(), tree)
	if err != nil {
		t.Fatalf("plan %s of %s: %v", Type, size, err)
	}
	return fstest.WriteVolume(t, size, v)
}

// smallTree returns a tree with one of everything.
func smallTree() fstest.Tree {
	return fstest.Small(2600,
		fstest.Link("etc/t3488", strings.Repeat("a", disk.InlineDataSize)),
		fstest.Link("etc/t3489", strings.Repeat("b", disk.InlineDataSize+1)),
		fstest.File("etc/3488", fstest.Pattern(2, disk.InlineDataSize)),
		fstest.File("etc/3489", fstest.Pattern(3, disk.InlineDataSize+1)),
		fstest.Sparse("small hole", 3000, 0))
}
