// SPDX-License-Identifier: Apache-2.0

package imagetree

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
)

func TestMountPointsAreThoseOfFstab(t *testing.T) {
	t.Parallel()
	text := "# UUID=1 /x\nUUID=2 / ext4 defaults 0 1\nUUID=\"3\" /boot/ ext2 defaults 0 2\nproc /proc proc\n" +
		"/dev/sdb3 /srv ext4\nUUID=4\nUUID=5 none swap sw\nUUID=6 /mnt ext4 nofail\nUUID=7 /home xfs defaults\n" +
		"LABEL=data /data ext4 defaults\n/dev/vda2 /opt ext4 defaults\n/dev/disk/by-partuuid/8 /usr/local ext4 noauto\n"
	want := []mountPoint{{"boot", "UUID", "3", true}, {"mnt", "UUID", "6", false}, {"home", "UUID", "7", true},
		{"data", "LABEL", "data", true}, {"opt", "device", "2", false}, {"usr/local", "PARTUUID", "8", false}}
	if got := mountPoints([]byte(text)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAFileSystemWithoutATableIsRead opens a disk without a partition table and without an fstab.
func TestAFileSystemWithoutATableIsRead(t *testing.T) {
	t.Parallel()
	then := time.Unix(1_700_000_000, 0)
	tree, err := diskimage.Overlay(diskimage.EmptyTree(then), diskimage.FileEntry("srv/data", 0o644, []byte("x"), then))
	if err != nil {
		t.Fatal(err)
	}
	size := 8 * diskimage.MiB
	volume, err := (ext.Formatter{}).Plan(size, diskimage.Filesystem{Type: "ext4"}, tree)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(int64(size)), volume.Write(t.Context(), f)); err != nil {
		t.Fatal(err)
	}
	found, err := Open(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(found, "srv/data"); err != nil || string(data) != "x" {
		t.Errorf("got %q (%v)", data, err)
	}
	if _, err := Open(strings.NewReader(strings.Repeat("\x00", 4096)), 4096); err == nil ||
		!strings.Contains(err.Error(), "no file system of type ext2") {
		t.Errorf("zeros: %v", err)
	}
}
