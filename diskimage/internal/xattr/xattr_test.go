// SPDX-License-Identifier: Apache-2.0

package xattr

import (
	"reflect"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
)

func TestAttributesSurviveTheirFormOnDisk(t *testing.T) {
	t.Parallel()
	list := acl.List{{Tag: 1, Perm: 6, ID: 1<<32 - 1}, {Tag: 2, Perm: 4, ID: 1000}, {Tag: 4, Perm: 4, ID: 1<<32 - 1},
		{Tag: 16, Perm: 4, ID: 1<<32 - 1}, {Tag: 32, Perm: 0, ID: 1<<32 - 1}}
	want := []diskimage.Xattr{
		{Name: "user.a", Value: []byte("1")}, {Name: "trusted.b", Value: []byte("2")},
		{Name: "security.capability", Value: []byte("3")}, {Name: acl.Access, Value: list.Xattr()},
		{Name: acl.Default, Value: list.Xattr()},
	}
	attrs, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []diskimage.Xattr
	for i, a := range attrs {
		if name, known := a.FullName(); !known || name != want[i].Name {
			t.Errorf("FullName of %+v: got %q, %v", a, name, known)
		}
		x, err := a.Decode()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if name, known := (Attr{Index: 7, Name: "x"}).FullName(); known || name != "x" {
		t.Errorf("index 7: got %q, %v", name, known)
	}
}

func TestNamesThatHaveNoFormOnDiskAreErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"user", "user.", "btrfs.compression", "system.posix_acl_access.x", "user.a\x00b",
		"user." + strings.Repeat("x", 256)} {
		if got, err := Encode([]diskimage.Xattr{{Name: name}}); err == nil {
			t.Errorf("%q: got %+v, want an error", name, got)
		}
	}
}
