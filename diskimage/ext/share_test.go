// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/blocks"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// sharedFiles are sizes around the limits that decide whether a file is shared.
var sharedFiles = []int{100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3 << 20, 5<<20 + 4095}

func TestLargeFilesShareTheirBlocks(t *testing.T) {
	if dir := os.Getenv(mountVariable); dir != "" {
		at := filepath.Join(dir, "mounted")
		mountLoop(t, filepath.Join(dir, "xfs"), at, "rw")
		writeShared(t, at)
		return
	}
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mounted"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "xfs")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(512*diskimage.MiB)); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, diskimagetest.Tool(t, "mkfs.xfs"), "-q", "-m", "reflink=1", image)
	runAgain(t, dir, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
}

// writeShared writes a file system twice: to a file that can share blocks and to one that cannot.
func writeShared(t *testing.T, dir string) {
	t.Helper()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, size := range sharedFiles {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), fstest.Pattern(uint64(i), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const size, start = 64 * diskimage.MiB, 1 << 20
	v, err := Formatter{}.Plan(size, filesystem("ext4", "1.44"), diskimage.NewDirTree(root))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(start + int64(size)); err != nil {
		t.Fatal(err)
	}
	part := partition{f, start}
	if got := blocks.Share(t.Context(), part, v.(*volume).runs()); len(got) != 4 {
		t.Errorf("%d files share blocks, want 4: %v", len(got), got)
	}
	if err := v.Write(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, start); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fstest.WriteVolume(t, size, v)) // on another file system
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Error("shared and copied images differ")
	}
}

// partition is the part of a disk image that a volume is written to.
type partition struct {
	file  *os.File
	start int64
}

func (p partition) WriteAt(b []byte, offset int64) (int, error) {
	return p.file.WriteAt(b, p.start+offset)
}
func (p partition) InFile() (fd int, offset int64) { return int(p.file.Fd()), p.start }
