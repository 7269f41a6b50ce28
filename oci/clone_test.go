// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// clone makes the second file a clone of the first one, after it has read a byte of that.
func clone(args []string) error {
	from, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := from.Read(make([]byte, 1)); err != nil {
		return err
	}
	to, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer to.Close()
	result := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	read, err := from.Seek(0, 1)
	if err != nil {
		return err
	}
	written, err := to.Seek(0, 1)
	fmt.Println(result, read, written)
	return err
}

// dracut-install starts a cp for each of the thousand files of an initramfs where FICLONE fails.
func TestFilesAreClonedWhereBlocksCannotBeShared(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	content := bytes.Repeat([]byte("module"), 100_000)
	err := errors.Join(c.WriteFile("/file", content, 0o644), c.WriteFile("/sparse", []byte("text"), 0o644),
		c.WriteFile("/old", []byte("text"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(c.Root(), "sparse"), 1<<40); err != nil {
		t.Fatal(err)
	}
	if got, want := output(t, c, newProcess("clone", "/file", "/copy")), "<nil> 1 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if data, err := c.ReadFile("/copy"); err != nil || !bytes.Equal(data, content) {
		t.Errorf("the copy has %d bytes, %v", len(data), err)
	}
	// What would be no clone is left to the kernel, which refuses all of these on ext4.
	for _, tt := range []struct{ from, to, left string }{
		{"/sparse", "/hole", ""}, {"/file", "/old", "text"}, {"/proc/cpuinfo", "/new", ""},
	} {
		got := output(t, c, newProcess("clone", tt.from, tt.to))
		if strings.HasPrefix(got, "<nil>") && hostShares(t) {
			continue
		}
		if data, err := c.ReadFile(tt.to); strings.HasPrefix(got, "<nil>") || err != nil || string(data) != tt.left {
			t.Errorf("%s to %s: %s; %d bytes, %v", tt.from, tt.to, got, len(data), err)
		}
	}
}

// hostShares reports whether the file system of the tests can share blocks.
func hostShares(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}
