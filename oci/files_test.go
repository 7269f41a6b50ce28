// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func emptyContainer(t *testing.T) *Container {
	t.Helper()
	c, err := openEngine(t).Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The tree has links to directories of the host; every operation through such a link must stay
// below the root.
func TestFilesNeverReachTheHost(t *testing.T) {
	t.Parallel()
	c := emptyContainer(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 40) + outside[1:]
	err := errors.Join(c.Symlink(outside, "/absolute"), c.Symlink(up, "/relative"), c.Symlink(secret, "/file"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/absolute", "/relative", up} {
		name := dir + "/secret"
		if data, err := c.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: got %q, %v", name, data, err)
		}
		for what, err := range map[string]error{
			"write":   c.WriteFile(name, nil, 0o644),
			"symlink": c.Symlink("x", name),
			"chmod":   c.Chmod(name, 0o777),
			"lchown":  c.Lchown(name, 1, 1),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s %s: %v", what, name, err)
			}
		}
		if err := errors.Join(c.Remove(name), c.RemoveAll(name)); err != nil {
			t.Error(err)
		}
		if _, err := c.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("list %s: %v", dir, err)
		}
	}
	if _, err := c.ReadFile("/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read /file: %v", err)
	}
	// MkdirAll may follow the links, but stays below the root.
	_ = c.MkdirAll("/relative/new", 0o755)
	// The same names work if the link's target exists in the container.
	if err := errors.Join(c.MkdirAll(outside, 0o755), c.WriteFile("/absolute/secret", []byte("of the container"),
		0o644)); err != nil {
		t.Fatal(err)
	}
	if data, err := c.ReadFile("/file"); err != nil || string(data) != "of the container" {
		t.Errorf("got %q, %v", data, err)
	}
	if err := c.RemoveAll("/relative/secret"); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("the host's directory holds %v (%v)", entries, err)
	}
	info, err := os.Stat(secret)
	if data, readErr := os.ReadFile(secret); err != nil || readErr != nil || string(data) != "of the host" ||
		info.Mode() != 0o600 {
		t.Errorf("the host's file is %q with mode %v (%v, %v)", data, info.Mode(), err, readErr)
	}
}

func TestRemoveKeepsTheTargetOfALink(t *testing.T) {
	t.Parallel()
	c := emptyContainer(t)
	err := errors.Join(c.MkdirAll("/dir/sub", 0o755), c.Symlink("/dir", "/a"), c.Symlink("dir", "/b"),
		c.RemoveAll("/a"), c.Remove("/b"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := c.ReadDir("/")
	if err != nil || len(entries) != 1 || entries[0].Name() != "dir" {
		t.Errorf("got %v, %v", entries, err)
	}
	if _, err := c.Lstat("/dir/sub"); err != nil {
		t.Error(err)
	}
}

// Not parallel: the umask belongs to the process.
func TestModesIgnoreTheUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	c := emptyContainer(t)
	if err := errors.Join(c.MkdirAll("/var/spool", 0o755), c.MkdirAll("/tmp", 0o777|fs.ModeSticky),
		c.WriteFile("/var/file", nil, 0o755|fs.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"/":          fs.ModeDir | 0o755,
		"/var":       fs.ModeDir | 0o755,
		"/var/spool": fs.ModeDir | 0o755,
		"/tmp":       fs.ModeDir | fs.ModeSticky | 0o777,
		"/var/file":  fs.ModeSetuid | 0o755,
	} {
		if info, err := c.Lstat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}

func TestWriteFileReplacesAtomicallyAndKeepsTheOwner(t *testing.T) {
	t.Parallel()
	c := emptyContainer(t)
	if err := errors.Join(c.WriteFile("/shadow", []byte("old"), 0o640), c.Lchown("/shadow", 0, 42),
		c.Symlink("/shadow", "/link")); err != nil {
		t.Fatal(err)
	}
	handle, err := os.Open(filepath.Join(c.Root(), "shadow"))
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if err := errors.Join(c.WriteFile("/shadow", []byte("new"), 0o600),
		c.WriteFile("/link", []byte("a file now"), 0o644)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 8)
	if n, err := handle.Read(text); err != nil || string(text[:n]) != "old" {
		t.Errorf("a reader that had it open reads %q, %v", text[:n], err)
	}
	if _, gid := ownerOf(t, c, "/shadow"); gid != 42 {
		t.Errorf("got gid %d", gid)
	}
	if info, err := c.Lstat("/shadow"); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v (%v)", info.Mode(), err)
	}
	if data, err := c.ReadFile("/shadow"); err != nil || string(data) != "new" {
		t.Errorf("got %q, %v", data, err)
	}
	if info, err := c.Lstat("/link"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if entries, err := c.ReadDir("/"); err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func TestReadFileDoesNotWaitForAPipe(t *testing.T) {
	t.Parallel()
	c := emptyContainer(t)
	if err := unix.Mkfifo(filepath.Join(c.Root(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadFile("/pipe"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameTheFileOfTheContainer(t *testing.T) {
	t.Parallel()
	c := emptyContainer(t)
	_, err := c.ReadFile("/etc/fstab")
	if want := "open /etc/fstab: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	_, err = c.ReadDir("/etc")
	if want := "open /etc: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

// ownerOf returns the owner of a file in a container.
func ownerOf(t *testing.T, c *Container, name string) (uid, gid uint32) {
	t.Helper()
	info, err := c.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
