// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
)

// fenceWriter notes writes outside of what was announced.
type fenceWriter struct {
	allowed []diskimage.Extent
	mu      sync.Mutex
	outside []string
}

func (w *fenceWriter) WriteAt(b []byte, offset int64) (int, error) {
	end := offset + int64(len(b))
	for _, e := range w.allowed {
		if offset >= e.Offset && end <= e.Offset+e.Length {
			return len(b), nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outside = append(w.outside, fmt.Sprintf("%d bytes at %d", len(b), offset))
	return len(b), nil
}

var _ io.WriterAt = (*fenceWriter)(nil)

// A qcow2 file is planned by what volumes say, and a block map leaves out what they do not use.
func TestVolumesWriteOnlyWhereTheySay(t *testing.T) {
	t.Parallel()
	for _, fstype := range []string{"ext2", "ext3", "ext4", "f2fs", "vfat", "swap"} {
		formatter := filesystem.Lookup(fstype).Formatter
		if _, knows := plan(t, formatter, fstype, "", 200*diskimage.MiB).(diskimage.UsedSpace); !knows {
			continue
		}
		for _, features := range []string{"", ext.E2fsprogs144, ext.E2fsprogs147} {
			for _, size := range []diskimage.Size{45 * diskimage.MiB, 100*diskimage.MiB - 4096, 600 * diskimage.MiB,
				3 * diskimage.GiB} {
				if fstype == "f2fs" {
					size = max(size, 120*diskimage.MiB) // of which a third is reserved
				}
				v := plan(t, formatter, fstype, features, size)
				data, known := diskimage.VolumeData(v)
				if !known {
					t.Fatalf("%s knows what it uses, and does not say", fstype)
				}
				w := &fenceWriter{allowed: data}
				if err := v.Write(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				if len(w.outside) > 0 {
					t.Errorf("%s %s of %s: written outside of %v: %v", fstype, features, size, data, w.outside)
				}
				used, sum := v.(diskimage.UsedSpace).Used(), int64(0)
				for i, e := range used {
					sum += e.Length
					if i > 0 && e.Offset < used[i-1].Offset+used[i-1].Length || e.Offset+e.Length > int64(size) {
						t.Errorf("%s of %s: %v is out of order or place", fstype, size, used)
					}
				}
				if size == 3*diskimage.GiB && sum > int64(size)/8 {
					t.Errorf("%s of %s: %d bytes in use for 40 MiB of files", fstype, size, sum)
				}
			}
		}
	}
}

func plan(t *testing.T, f diskimage.Formatter, fstype, features string, size diskimage.Size) diskimage.Volume {
	t.Helper()
	v, err := f.Plan(size, diskimage.Filesystem{Type: fstype, Features: features, UUID: uuid.Max, Seed: uuid.Max,
		Time: time.Unix(1_700_000_000, 0)}, autoTree(t))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestImagesHoldNoTimeLaterThanTheBuild(t *testing.T) {
	t.Parallel()
	built := time.Unix(1_700_000_000, 0)
	r := &Result{x: &Executor{}, Rootfs: targettest.New(t, map[string]string{"/etc/motd": "hello"}),
		lock: Lock{Time: built}}
	for e, err := range r.assembler().tree.Entries() {
		if err != nil || e.ModTime.After(built) {
			t.Errorf("%s is of %v (%v)", e.Name, e.ModTime, err)
		}
	}
}

// TestPartitionOfBootsizeHoldsItsMountPoint: the Raspberry Pi starts from a FAT file system in /boot/firmware, and the
// kernels of /boot stay in the root file system.
func TestPartitionOfBootsizeHoldsItsMountPoint(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string][2]string{
		"/boot":          {". firmware firmware/config.txt vmlinuz", ". boot"},
		"/boot/firmware": {". config.txt", ". boot boot/firmware boot/vmlinuz"},
	} {
		d := testPlan(t, func(o *Options) {
			o.BootMount, o.Bootsize, o.Boottype, o.Boot = dir, 100*diskimage.MiB, "vfat", "none"
		}).Disk
		f := targettest.New(t, map[string]string{"/boot/firmware/config.txt": "", "/boot/vmlinuz": ""})
		root := target.Tree(f, f.Root())
		for i, role := range []diskimage.Role{diskimage.RoleBoot, diskimage.RoleRoot} {
			p, _ := d.Layout.Partition(role)
			tree, err := d.tree(p, root, nil)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for e, err := range tree.Entries() {
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(e.Name, "dev") {
					names = append(names, e.Name)
				}
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want[i] {
				t.Errorf("%s, %s: got %q, want %q", dir, role, got, want[i])
			}
		}
	}
}
