// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
)

// TestInstallOnExtEqualsExtlinux lets extlinux install itself in a mounted file system of ours. The
// result must be equal, byte for byte, to what we would have written.
func TestInstallOnExtEqualsExtlinux(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	const size, blockSize = 24 << 20, 4096
	for _, tt := range []struct{ fsType, release, dir string }{
		{"ext2", "", "/"}, {"ext3", "", "/"}, {"ext4", "", "/boot"}, {"ext4", "1.44", "/"},
		{"ext4", "1.47", "/boot/extlinux"},
	} {
		t.Run(tt.fsType+tt.release, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			writeExt(t, image, size, diskimage.Filesystem{Type: tt.fsType, Features: tt.release, UUID: uuid.New(),
				Time: time.Now()}, tt.dir)
			mountAndInstall(t, image, tt.dir)
			name := strings.TrimSuffix(tt.dir, "/") + "/ldlinux.sys"
			file := filepath.Join(t.TempDir(), "ldlinux.sys")
			diskimagetest.Run(t, "debugfs", "-R", fmt.Sprintf("dump %s %s", name, file), image)
			want, disk := read(t, file), read(t, image)
			extents := blocksOf(t, image, name, (len(want)+blockSize-1)/blockSize, blockSize)
			patches, got, err := loader(t).Install(Placement{Sectors: size / sectorSize, File: extents,
				Directory: tt.dir})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("ldlinux.sys has %d bytes, want %d", len(got), len(want))
			}
			for i := 0; i < len(got); i += dwordSize {
				if g, w := got[i:i+dwordSize], want[i:i+dwordSize]; !bytes.Equal(g, w) {
					t.Errorf("ldlinux.sys differs at %#x: got % x, want % x", i, g, w)
				}
			}
			for _, p := range patches {
				if w := disk[p.Offset : p.Offset+int64(len(p.Data))]; !bytes.Equal(p.Data, w) {
					t.Errorf("boot sector from %#x:\ngot  % x\nwant % x", p.Offset, p.Data, w)
				}
			}
		})
	}
}

// blocksOf returns the extents of a file's first n blocks, according to debugfs.
func blocksOf(t *testing.T, image, name string, n int, size int64) []diskimage.Extent {
	t.Helper()
	var commands strings.Builder
	for i := range n {
		fmt.Fprintf(&commands, "bmap %s %d\n", name, i)
	}
	list := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(list, []byte(commands.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var extents []diskimage.Extent
	for line := range strings.Lines(diskimagetest.Run(t, "debugfs", "-f", list, image)) {
		if block, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			extents = append(extents, diskimage.Extent{Offset: block * size, Length: size})
		}
	}
	if len(extents) != n {
		t.Fatalf("debugfs lists %d blocks of %s, want %d", len(extents), name, n)
	}
	return extents
}

// writeExt writes a file system with the content of a directory.
func writeExt(t *testing.T, image string, size diskimage.Size, fs diskimage.Filesystem, dir string) {
	t.Helper()
	tree := diskimage.EmptyTree(fs.Time)
	if name := strings.Trim(dir, "/"); name != "" {
		var err error
		if tree, err = diskimage.Overlay(tree, diskimage.DirEntry(name, 0o755, fs.Time)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := ext.Formatter{}.Plan(size, fs, tree)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(int64(size)), v.Write(t.Context(), f)); err != nil {
		t.Fatal(err)
	}
}

// mountAndInstall runs extlinux in its own mount namespace, so that nothing stays mounted.
func mountAndInstall(t *testing.T, image, dir string) {
	t.Helper()
	const noMount = 77 // exit status in the script
	const script = `mount -o loop "$1" "$2" || exit 77
		extlinux --heads "$3" --sectors "$4" --install "$2/$5" && umount "$2"`
	diskimagetest.Tool(t, "extlinux")
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, "sh", image, t.TempDir(),
		strconv.Itoa(geometryHeads), strconv.Itoa(geometrySectors), dir).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == noMount {
		t.Skipf("mount: %s", out)
	}
	if err != nil {
		t.Fatalf("extlinux --install: %v\n%s", err, out)
	}
}
