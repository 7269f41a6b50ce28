// SPDX-License-Identifier: Apache-2.0

package formatters

import (
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestEveryTypeIsPlannedUnderItsName(t *testing.T) {
	t.Parallel()
	for _, fsType := range Types() {
		f, err := ByType(fsType)
		if err != nil {
			t.Fatal(err)
		}
		fs, tree := diskimage.Filesystem{Type: fsType}, diskimage.EmptyTree(time.Unix(0, 0))
		size := 100 * diskimage.MiB
		if f.MinimumSize != nil {
			if size, err = f.MinimumSize(fs, tree, 0); err != nil {
				t.Errorf("%s: %v", fsType, err)
			}
		}
		if v, err := f.Plan(size, fs, tree); err != nil || v == nil {
			t.Errorf("%s of %s: %v", fsType, size, err)
		}
	}
}

func TestErrorForAnUnknownTypeListsTheTypes(t *testing.T) {
	t.Parallel()
	_, err := ByType("ntfs")
	if err == nil || !strings.Contains(err.Error(), `"ntfs"; want one of ext2, ext3, ext4, f2fs, swap, vfat`) {
		t.Errorf("got %v", err)
	}
}
