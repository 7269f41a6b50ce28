// SPDX-License-Identifier: Apache-2.0

package fat_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
)

func TestFullDiskIsReportedWhereverItHappens(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{5 * diskimage.MiB, 20 * diskimage.MiB, 70 * diskimage.MiB} {
		v, err := fat.Formatter{}.Plan(size, diskimage.Filesystem{UUID: id}, tree(t, espFiles()))
		if err != nil {
			t.Fatal(err)
		}
		all := diskimagetest.NewFullWriter(1 << 40)
		if err := v.Write(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		length := 1<<40 - all.Room()
		for room := int64(0); room < length; room += 1 + length/97 {
			if err := v.Write(t.Context(), diskimagetest.NewFullWriter(room)); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s with room for %d of %d bytes: got %v, want %v", size, room, length, err, unix.ENOSPC)
			}
		}
	}
}
