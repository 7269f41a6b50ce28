// SPDX-License-Identifier: Apache-2.0

package acl

import (
	"bytes"
	"slices"
	"testing"
)

// example is the result of "setfacl -m u:1000:r,g:5:rx" for a file of mode 0750.
var example = List{
	{UserObj, 7, NoID}, {User, 4, 1000}, {GroupObj, 5, NoID}, {Group, 5, 5}, {Mask, 5, NoID}, {Other, 0, NoID},
}

// The bytes of the example in each form.
var (
	exampleXattr = []byte{
		2, 0, 0, 0,
		1, 0, 7, 0, 255, 255, 255, 255,
		2, 0, 4, 0, 0xE8, 3, 0, 0,
		4, 0, 5, 0, 255, 255, 255, 255,
		8, 0, 5, 0, 5, 0, 0, 0,
		16, 0, 5, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255,
	}
	exampleDisk = []byte{
		1, 0, 0, 0,
		1, 0, 7, 0,
		2, 0, 4, 0, 0xE8, 3, 0, 0,
		4, 0, 5, 0,
		8, 0, 5, 0, 5, 0, 0, 0,
		16, 0, 5, 0,
		32, 0, 0, 0,
	}
	exampleXFS = []byte{
		0, 0, 0, 6,
		0, 0, 0, 1, 255, 255, 255, 255, 0, 7, 0, 0,
		0, 0, 0, 2, 0, 0, 3, 0xE8, 0, 4, 0, 0,
		0, 0, 0, 4, 255, 255, 255, 255, 0, 5, 0, 0,
		0, 0, 0, 8, 0, 0, 0, 5, 0, 5, 0, 0,
		0, 0, 0, 16, 255, 255, 255, 255, 0, 5, 0, 0,
		0, 0, 0, 32, 255, 255, 255, 255, 0, 0, 0, 0,
	}
)

func TestFormsEncodeTheExample(t *testing.T) {
	t.Parallel()
	for form, encoded := range map[string]struct{ got, want []byte }{
		"xattr": {example.Xattr(), exampleXattr}, "disk": {example.Disk(), exampleDisk},
		"XFS": {example.XFS(), exampleXFS},
	} {
		if !bytes.Equal(encoded.got, encoded.want) {
			t.Errorf("%s: got % x, want % x", form, encoded.got, encoded.want)
		}
	}
	if got, err := Parse(exampleXattr); err != nil || !slices.Equal(got, example) {
		t.Errorf("Parse: got %v, %v", got, err)
	}
	if got, err := ParseDisk(exampleDisk); err != nil || !slices.Equal(got, example) {
		t.Errorf("ParseDisk: got %v, %v", got, err)
	}
	if got, err := ParseXFS(exampleXFS); err != nil || !slices.Equal(got, example) {
		t.Errorf("ParseXFS: got %v, %v", got, err)
	}
}

func TestParseRejectsInvalidLists(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]byte{nil, {0, 0, 0, 1}, exampleXFS[:len(exampleXFS)-1]} {
		if _, err := ParseXFS(bad); err == nil {
			t.Errorf("ParseXFS(% x): no error", bad)
		}
	}
	for _, bad := range [][]byte{nil, {1, 0, 0, 0}, {2, 0, 0, 0, 1}, exampleXattr[:len(exampleXattr)-4]} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("Parse(% x): no error", bad)
		}
	}
	for _, bad := range [][]byte{nil, {2, 0, 0, 0}, {1, 0, 0, 0, 1, 0}, {1, 0, 0, 0, 2, 0, 7, 0},
		{1, 0, 0, 0, 8, 0, 7, 0, 1, 2}} {
		if _, err := ParseDisk(bad); err == nil {
			t.Errorf("ParseDisk(% x): no error", bad)
		}
	}
}

func TestModeAndListCorrespond(t *testing.T) {
	t.Parallel()
	plain := List{{UserObj, 6, NoID}, {GroupObj, 4, NoID}, {Other, 0, NoID}}
	for _, tt := range []struct {
		list    List
		mode    uint32
		changed []uint16 // by WithMode(0o421)
		others  bool
	}{
		{plain, 0o640, []uint16{4, 2, 1}, false},
		{example, 0o750, []uint16{4, 4, 5, 5, 2, 1}, true}, // the mask follows the group's bits, not the group's entry
		{List{{User, 7, 0}, {UserObj, 6, 5}}, 0o600, []uint16{7, 4}, false},
		{nil, 0, nil, false},
	} {
		if got := tt.list.Permissions(); got != tt.mode {
			t.Errorf("%v: mode %o, want %o", tt.list, got, tt.mode)
		}
		before := slices.Clone(tt.list)
		changed := tt.list.WithMode(0o100421)
		var perms []uint16
		for _, e := range changed {
			perms = append(perms, e.Perm)
		}
		if !slices.Equal(perms, tt.changed) || !slices.Equal(tt.list, before) {
			t.Errorf("%v with another mode: permissions %v, want %v", before, perms, tt.changed)
		}
		if got := tt.list.NamesOthers(); got != tt.others {
			t.Errorf("%v names others: %t, want %t", tt.list, got, tt.others)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(exampleXattr)
	f.Add(exampleDisk)
	f.Fuzz(func(t *testing.T, value []byte) {
		if list, err := Parse(value); err == nil {
			if got := list.Xattr(); !bytes.Equal(got, value) {
				t.Errorf("% x became % x", value, got)
			}
			if mode := list.WithMode(list.Permissions()).Permissions(); mode != list.Permissions() {
				t.Errorf("% x: mode %o, then %o", value, list.Permissions(), mode)
			}
			disk, err := ParseDisk(list.Disk())
			if err != nil || len(disk) != len(list) || disk.NamesOthers() != list.NamesOthers() {
				t.Errorf("% x: on the disk %v, %v", value, disk, err)
			}
		}
		if list, err := ParseDisk(value); err == nil {
			if got := list.Disk(); !bytes.Equal(got, value) {
				t.Errorf("% x became % x", value, got)
			}
			if again, err := Parse(list.Xattr()); err != nil || !slices.Equal(again, list) {
				t.Errorf("% x: as an attribute %v, %v", value, again, err)
			}
		}
	})
}
