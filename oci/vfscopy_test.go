// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Issue 13, 3: with the driver vfs a layer is a copy of the one below it. The store's own copy
// lacks access control lists, trusted.* attributes, and times before 1970.
func TestImportKeepsAttributesOfTheLayerBelow(t *testing.T) {
	t.Parallel()
	list := acl.List{{Tag: acl.UserObj, Perm: 7, ID: acl.NoID}, {Tag: acl.GroupObj, Perm: 5, ID: acl.NoID},
		{Tag: acl.Group, Perm: 5, ID: 0},
		{Tag: acl.Mask, Perm: 5, ID: acl.NoID}, {Tag: acl.Other, Perm: 5, ID: acl.NoID}}.Xattr()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			e := openEngineAt(t, t.TempDir(), driver)
			c, err := e.Scratch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			then := time.Date(1960, 1, 2, 3, 4, 5, 123_456_789, time.UTC)
			names := []string{"dir", "dir/file", "file"}
			err = errors.Join(
				c.MkdirAll("/dir", 0o755), c.WriteFile("/dir/file", []byte("x"), 0o640),
				c.WriteFile("/file", nil, 0o644), c.Symlink("x", "/link"),
				unix.Setxattr(c.Root()+"/dir", acl.Default, list, 0),
			)
			for _, name := range names {
				path := filepath.Join(c.Root(), name)
				err = errors.Join(err, unix.Setxattr(path, "user.mine", []byte("of "+name), 0))
			}
			// only the host's root can set it
			trusted := unix.Setxattr(filepath.Join(c.Root(), "file"), "trusted.mine", []byte("x"),
				0) == nil
			for _, name := range []string{"link", "file", "dir/file", "dir"} {
				err = errors.Join(err,
					setTimes(filepath.Join(c.Root(), name), [2]unix.Timespec{{}, unix.NsecToTimespec(then.UnixNano())}))
			}
			err = errors.Join(err, c.Snapshot(t.Context(), "localhost/test:below", nil), c.Close())
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Import(t.Context(), "localhost/test:below",
				[]types.PackedSnapshot{packedTar(t, "localhost/test:above", newFileArchive(t))}); err != nil {
				t.Fatal(err)
			}
			above, err := e.From(t.Context(), "localhost/test:above")
			if err != nil {
				t.Fatal(err)
			}
			defer above.Close()
			value := make([]byte, 100)
			for _, name := range names {
				n, err := unix.Getxattr(filepath.Join(above.Root(), name), "user.mine", value)
				if got := string(value[:max(n, 0)]); err != nil || got != "of "+name {
					t.Errorf("%s: user.mine is %q (%v)", name, got, err)
				}
			}
			if n, err := unix.Getxattr(above.Root()+"/dir", acl.Default, value); err != nil ||
				!bytes.Equal(value[:n], list) {
				t.Errorf("the access control list is % x (%v), want % x", value[:max(n, 0)], err, list)
			}
			for _, name := range append(names, "link") {
				if info, err := os.Lstat(filepath.Join(above.Root(), name)); err != nil || !info.ModTime().Equal(then) {
					t.Errorf("%s has time %v (%v), want %v", name, info.ModTime(), err, then)
				}
			}
			if n, err := unix.Getxattr(above.Root()+"/file", "trusted.mine", value); trusted && (err != nil || n != 1) {
				t.Errorf("trusted.mine is gone (%v)", err)
			}
			if _, err := above.ReadFile("/new"); err != nil {
				t.Error(err)
			}
		})
	}
}

// newFileArchive returns an archive with the file /new.
func newFileArchive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "new", Mode: 0o644})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
