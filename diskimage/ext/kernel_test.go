// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/inode"
)

// mountVariable is set when a test runs again in its own mount namespace, to the directory that it
// uses.
const mountVariable = "EXT_TEST_MOUNT"

// runAgain runs the calling test in another process, whose mounts end with it. If that process
// skips the test, so does the caller.
func runAgain(t *testing.T, dir string, attr *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=300s")
	cmd.Env = append(os.Environ(), mountVariable+"="+dir)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC):
		t.Skipf("namespaces are not possible here: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// mountLoop mounts an image in its own namespace. The loop device is removed with the mount.
func mountLoop(t *testing.T, image, at, options string) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("mount", "-o", "loop,"+options, image, at).CombinedOutput(); err != nil {
		t.Skipf("mount: %v\n%s", err, out)
	}
}

// kernelTree returns all entries, and for ext4 also a directory of 50,000 files.
func kernelTree(k kind) fstest.Tree {
	tree := append(adversarialTree(), smallTree()[1:]...)
	if k.fsType == "ext4" {
		tree = append(tree, fstest.ManyFiles("50000", 50_000, 12)...)
	}
	return tree
}

// The kernel is the most important reader, and the only one that searches directories by their
// index.
func TestKernelReadsWhatWasWritten(t *testing.T) {
	if dir := os.Getenv(mountVariable); dir != "" {
		for _, k := range kinds {
			at := filepath.Join(dir, "mounted")
			mountLoop(t, filepath.Join(dir, k.String()), at, "ro")
			compareMounted(t, k, at, kernelTree(k))
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}
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
	for _, k := range kinds {
		image := write(t, 2*diskimage.GiB, filesystem(k.fsType, k.generation), kernelTree(k))
		if err := os.Rename(image, filepath.Join(dir, k.String())); err != nil {
			t.Fatal(err)
		}
	}
	runAgain(t, dir, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
}

// compareMounted compares a mounted file system with its source tree.
func compareMounted(t *testing.T, k kind, at string, tree fstest.Tree) {
	t.Helper()
	want, links := map[string]diskimage.Entry{}, map[string]uint64{}
	for _, e := range tree {
		if e.HardLink != "" {
			e.Open = want[e.HardLink].Open
			links[e.HardLink]++
		}
		want[e.Name] = e
	}
	seen, opens := 0, map[string]func() (diskimage.Content, error){}
	for got, err := range diskimage.NewDirTree(at).Entries() {
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		if opens[got.Name] = got.Open; got.HardLink != "" {
			got.Open = opens[got.HardLink]
		}
		w, ok := want[got.Name]
		if !ok {
			if got.Name != lostAndFound {
				t.Errorf("%s: %q is not in the tree", k, got.Name)
			}
			continue
		}
		seen++
		if g, w := describeMounted(t, got), describeMounted(t, w); g != w {
			t.Errorf("%s: %q:\ngot  %s\nwant %s", k, got.Name, g, w)
		}
		compareSystem(t, k, filepath.Join(at, got.Name), w, 1+links[w.Name]+links[w.HardLink])
	}
	if seen != len(tree) {
		t.Errorf("%s: %d names, want %d", k, seen, len(tree))
	}
}

// describeMounted formats all properties of an entry that must be equal, except links and extended
// attributes.
func describeMounted(t *testing.T, e diskimage.Entry) string {
	t.Helper()
	mtime := newStamp(e.ModTime)
	n := inode.Inode{Size: e.Size, Data: e.Data, Dense: e.Dense}
	text := fmt.Sprintf("mode %o owner %d:%d time %d.%09d size %d device %d:%d link %.80q data ", e.Mode, e.UID, e.GID,
		mtime.seconds, mtime.nanoseconds, e.Size, e.Major, e.Minor, e.Linkname)
	if !e.IsRegular() || e.Size == 0 {
		return text + "none"
	}
	content, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	sum := sha256.New()
	for _, s := range n.Spans() {
		start, end := int64(s.Start)*disk.BlockSize, min(int64(s.End)*disk.BlockSize, e.Size)
		text += fmt.Sprintf("%d-%d ", start, end)
		if _, err := io.Copy(sum, io.NewSectionReader(content, start, end-start)); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%s sum %x", text, sum.Sum(nil)[:8])
}

// compareSystem compares the properties that need system calls: the number of links and all
// extended attributes.
func compareSystem(t *testing.T, k kind, name string, want diskimage.Entry, links uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Error(err)
	}
	if !want.IsDir() && want.HardLink == "" && uint64(st.Nlink) != links {
		t.Errorf("%s: %q has %d links, want %d", k, name, st.Nlink, links)
	}
	for _, x := range want.Xattrs {
		value := make([]byte, 1<<16)
		size, err := unix.Lgetxattr(name, x.Name, value)
		if err != nil {
			t.Errorf("%s: %q: %s: %v", k, name, x.Name, err)
			continue
		}
		if got := value[:size]; !bytes.Equal(withoutIDs(x.Name, got), withoutIDs(x.Name, x.Value)) {
			t.Errorf("%s: %q: %s: got %x, want %x", k, name, x.Name, got, x.Value)
		}
	}
}

// withoutIDs clears the meaningless IDs of an access control list, in which tools differ.
func withoutIDs(name string, value []byte) []byte {
	if !strings.HasPrefix(name, "system.posix_acl") || len(value) < 4 {
		return value
	}
	acl := slices.Clone(value)
	for entry := range slices.Chunk(acl[4:], 8) {
		if tag := binary.LittleEndian.Uint16(entry); tag != 2 && tag != 8 {
			clear(entry[4:])
		}
	}
	return acl
}

// A disk may become full while data or metadata is written. In either case nothing may be left.
func TestFullDiskLeavesNothing(t *testing.T) {
	tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 1000, 100)...)
	tree = append(tree, fstest.File("large", fstest.Pattern(1, 6<<20)))
	if dir := os.Getenv(mountVariable); dir != "" {
		for _, size := range []string{"64k", "1m", "5m", "6m"} {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
				t.Skip(err)
			}
			failToWrite(t, tree, filepath.Join(dir, "disk.img"), func(f *os.File) io.WriterAt { return f })
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	t.Parallel()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	runAgain(t, t.TempDir(), attr)
	for limit := int64(0); limit < 7<<20; limit += 300_000 {
		failToWrite(t, tree, filepath.Join(t.TempDir(), "disk.img"),
			func(f *os.File) io.WriterAt { return limited{f, limit} })
	}
}

// limited is a file on a disk that is full from an offset on.
type limited struct {
	file *os.File
	end  int64
}

// WriteAt implements io.WriterAt. It writes as much as fits, as pwrite(2) does.
func (l limited) WriteAt(b []byte, offset int64) (int, error) {
	fits := min(int64(len(b)), max(0, l.end-offset))
	n, err := l.file.WriteAt(b[:fits], offset)
	if err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	return n, err
}

// failToWrite checks that writing fails because the disk is full, that the error says so, and that
// nothing is left.
func failToWrite(t *testing.T, tree fstest.Tree, name string, dst func(*os.File) io.WriterAt) {
	t.Helper()
	v, err := Formatter{}.Plan(24*diskimage.MiB, filesystem("ext4", "1.44"), tree)
	if err != nil {
		t.Fatal(err)
	}
	err = diskimage.WriteFile(context.WithoutCancel(t.Context()), name, 0o644,
		func(f *os.File) error { return v.Write(t.Context(), dst(f)) })
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") ||
		!strings.Contains(err.Error(), filepath.Dir(name)) {
		t.Errorf("got %v, want an error that the file system of %s is full", err, name)
	}
	left, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
