// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"encoding/binary"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func TestOnDiskStructuresHaveTheirSize(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{dirEntry{}, 32}, {longEntry{}, 32}, {bootSector{}, 0x24}, {extension32{}, 0x40 - 0x24},
		{extension{}, 0x3e - 0x24}, {fsInfo{}, 512},
	})
}

func TestShortNamesAreThoseOfWindows(t *testing.T) {
	t.Parallel()
	names := shortNames{taken: make(map[shortName]bool), tails: make(map[string]int)}
	for _, c := range []struct{ long, want string }{
		{"readme.txt", "README  TXT"}, {"ReadMe.TXT", "README~1TXT"}, {"The quick brown.fox", "THEQUI~1FOX"},
		{"The quick red.fox", "THEQUI~2FOX"}, {".bashrc", "BASHRC~1   "}, {"a.b.c", "AB~1    C  "},
		{"a+b.x", "A_B~1   X  "},
		{"grub.conf", "GRUB~1  CON"}, {"日本", "__~1       "}, {"vmlinuz-6.1.0", "VMLINU~10  "}, {"noext", "NOEXT      "},
	} {
		got, err := names.forLong(c.long)
		if err != nil || string(got[:]) != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.long, got[:], err, c.want)
		}
	}
	for range 12 {
		if _, err := names.forLong("The quick dog.fox"); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := names.forLong("The quick cat.fox"); string(got[:]) != "THEQU~15FOX" {
		t.Errorf("the fifteenth: got %q", got[:])
	}
}

func TestOnlyUpperCaseNamesNeedNoLongName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"BOOTX64.EFI": true, "A": true, "LONGNA~1.CON": true, "12345678.123": true, "bootx64.efi": false,
		"123456789": false,
		"A.1234":    false, "A.B.C": false, "A B": false, ".A": false, "A+": false, "Ä": false,
	} {
		if _, got := exactShort(name); got != want {
			t.Errorf("exactShort(%q) = %v, want %v", name, got, want)
		}
	}
}

// mtools and go-diskfs do not read names beyond the basic plane, so the test decodes this one
// itself.
func TestLongNamesAreUTF16(t *testing.T) {
	t.Parallel()
	const name = "fifteen chars 😀"
	root := &node{name: ".", isDir: true, children: []*node{{name: name}}}
	entries, err := root.nameChildren()
	if err != nil || entries != 3 {
		t.Fatalf("got %d entries, %v; want 3", entries, err)
	}
	var units []uint16
	b := appendLong(nil, root.children[0])
	for i := len(b) - dirEntrySize; i >= 0; i -= dirEntrySize {
		var e longEntry
		if _, err := binary.Decode(b[i:], binary.LittleEndian, &e); err != nil {
			t.Fatal(err)
		}
		units = append(append(append(units, e.Name1[:]...), e.Name2[:]...), e.Name3[:]...)
	}
	if got := string(utf16.Decode(units[:16])); got != name {
		t.Errorf("got %q, want %q", got, name)
	}
	for i, want := range []uint16{0, 0xffff, 0xffff} {
		if units[16+i] != want {
			t.Errorf("unit %d after the name is %#x, want %#x", i, units[16+i], want)
		}
	}
}

func TestTimesAreClampedToTheRangeOfFAT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		time        time.Time
		date, clock uint16
		tenth       uint8
	}{
		{time.Unix(0, 0), 0<<9 | 1<<5 | 1, 0, 0},
		{time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29, 100},
		{time.Date(2024, 2, 29, 13, 14, 15, 990_000_000, time.FixedZone("", 3600)), 44<<9 | 2<<5 | 29,
			12<<11 | 14<<5 | 7,
			199},
	} {
		if date, clock, tenth := dosTime(c.time); date != c.date || clock != c.clock || tenth != c.tenth {
			t.Errorf("%v: got %#x %#x %d, want %#x %#x %d", c.time, date, clock, tenth, c.date, c.clock, c.tenth)
		}
	}
}

func TestTwelveBitEntriesShareBytes(t *testing.T) {
	t.Parallel()
	got := packEntries([]uint32{0xff8, 0xfff, 0x123}, 12)
	if want := "\xf8\xff\xff\x23\x01"; string(got) != want {
		t.Errorf("got % x, want % x", got, want)
	}
}
