// SPDX-License-Identifier: Apache-2.0

package ownerxattr

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var modes = []uint32{unix.S_IFREG | 0o644, unix.S_IFDIR | 0o755, unix.S_IFLNK | 0o777, unix.S_IFIFO, unix.S_IFSOCK}

func TestParseReturnsTheOwnerOfXattr(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for _, o := range []Owner{{0, 0}, {1, 42}, {65534, 1 << 31}, {1<<32 - 1, 7}} {
			name, value := o.Xattr(mode)
			if name != NameFor(mode) {
				t.Errorf("mode %o: %s, want %s", mode, name, NameFor(mode))
			}
			if got, err := Parse(mode, value); err != nil || got != o {
				t.Errorf("mode %o: %v is parsed as %v, %v", mode, o, got, err)
			}
		}
	}
}

// Stores of earlier builds contain these values.
func TestAttributesAreThoseOfEarlierBuilds(t *testing.T) {
	t.Parallel()
	o := Owner{6, 65548}
	if name, value := o.Xattr(unix.S_IFREG); name != "user.vmdebootstrap.owner" || string(value) != "6:65548" {
		t.Errorf("a file has %s=%q", name, value)
	}
	want := []byte{0, 0, 0, 2, 6, 0, 0, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if name, value := o.Xattr(unix.S_IFLNK); name != "security.capability" || !bytes.Equal(value, want) {
		t.Errorf("a link has %s=%x, want %x", name, value, want)
	}
}

func TestParseRejectsInvalidOwners(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "0", ":", "0:", "root:root", "-1:0", "0:4294967296", "0:0:0", " 0:0", "0:0\n"} {
		if o, err := Parse(unix.S_IFREG, []byte(value)); err == nil || !strings.Contains(err.Error(), Name) {
			t.Errorf("%q: got %v, %v, want an error that names the attribute", value, o, err)
		}
	}
	for _, value := range [][]byte{nil, make([]byte, capabilitySize), append([]byte{0, 0, 0, 3}, make([]byte, 20)...),
		[]byte("0:0")} {
		if o, err := Parse(unix.S_IFLNK, value); err == nil {
			t.Errorf("%x: got %v, want an error", value, o)
		}
	}
}

func TestACLUndoesForACL(t *testing.T) {
	t.Parallel()
	for _, system := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		name, ok := ForACL(system)
		if back, known := ACL(name); !ok || !known || back != system || !Is(name) || Is(system) {
			t.Errorf("%s: %s, %t, and in reverse %s, %t", system, name, ok, back, known)
		}
	}
	for _, name := range []string{"system.posix_acl_other", "system.nfs4_acl", Name,
		"user.vmdebootstrap.posix_acl_x", ""} {
		if _, ok := ForACL(name); ok {
			t.Errorf("ForACL(%q): got true", name)
		}
		if _, ok := ACL(name); ok {
			t.Errorf("ACL(%q): got true", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint32(unix.S_IFREG), []byte("0:42"))
	_, link := Owner{1, 2}.Xattr(unix.S_IFLNK)
	f.Add(uint32(unix.S_IFLNK), link)
	f.Fuzz(func(t *testing.T, mode uint32, value []byte) {
		o, err := Parse(mode, value)
		if err != nil {
			return
		}
		_, encoded := o.Xattr(mode)
		if again, err := Parse(mode, encoded); err != nil || again != o {
			t.Errorf("%x is %v, and again %v, %v", value, o, again, err)
		}
	})
}
