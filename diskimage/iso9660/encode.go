// SPDX-License-Identifier: Apache-2.0

package iso9660

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Numbers of blocks between the system area and the path tables.
const (
	headDescriptors      = 4 // primary, boot record, terminator, boot catalogue
	partitionDescriptors = 2 // primary, terminator
)

// Types of volume descriptors (ECMA-119, 8.1.1).
const (
	typeBootRecord = 0
	typePrimary    = 1
	typeTerminator = 255
)

// view is how one reader counts blocks: from the start of the medium, or from that of the partition.
type view struct {
	// shift is the number of the partition's first block.
	shift uint32
	// descriptors is the number of blocks between the system area and the path tables.
	descriptors uint32
	// directories is the first block of the first directory.
	directories uint32
	// blocks is the length of what the reader sees.
	blocks uint32
}

func (f *filesystem) newView(shift, descriptors, length uint32) view {
	tables := 2 * blocks(int64(f.pathTable))
	return view{shift, descriptors, systemArea + descriptors + tables, length}
}

// head returns the blocks after the system area of a medium with a number of blocks.
func (f *filesystem) head(m Medium, length uint32, esp diskimage.Partition) ([]byte, error) {
	v := f.newView(f.start, headDescriptors, length)
	const catalogueBlock = systemArea + headDescriptors - 1
	catalogue, err := f.catalogue(m, esp)
	if err != nil {
		return nil, err
	}
	record := descriptor(typeBootRecord)
	copy(record[0x07:], "EL TORITO SPECIFICATION")               // boot system identifier
	binary.LittleEndian.PutUint32(record[0x47:], catalogueBlock) // El Torito 1.0, figure 7
	if catalogue == nil {
		record = descriptor(typeTerminator) // readers stop at the first one
	}
	out := bytes.Join([][]byte{f.primary(v), record, descriptor(typeTerminator), pad(catalogue, BlockSize)}, nil)
	return append(out, f.tree(v)...), nil
}

// partitionHead returns the blocks after the partition's own system area.
func (f *filesystem) partitionHead() ([]byte, error) {
	v := f.newView(0, partitionDescriptors, f.end)
	out := append(f.primary(v), descriptor(typeTerminator)...)
	return append(out, f.tree(v)...), nil
}

// tree returns path tables and directories.
func (f *filesystem) tree(v view) []byte {
	var out []byte
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var table []byte
		for _, d := range f.directories {
			table = append(table, pathRecord(d, v, order)...)
		}
		out = append(out, pad(table, int(blocks(int64(len(table))))*BlockSize)...)
	}
	for _, d := range f.directories {
		records, continuation := d.encode(v)
		out = append(out, records...)
		out = append(out, pad(continuation, int(d.continuation)*BlockSize)...)
	}
	return out
}

// standardID is in every volume descriptor, after its type.
const standardID = "CD001"

// descriptor returns a volume descriptor with nothing but its head (ECMA-119, 8.1).
func descriptor(kind byte) []byte {
	d := make([]byte, BlockSize)
	d[0] = kind
	copy(d[1:], standardID)
	d[6] = 1
	return d
}

// primary returns the primary volume descriptor (ECMA-119, 8.4, with positions from 0).
func (f *filesystem) primary(v view) []byte {
	d := descriptor(typePrimary)
	text := func(at, length int, value string) {
		copy(d[at:at+length], value+strings.Repeat(" ", length))
	}
	text(8, 32, "") // system
	text(40, maxVolumeID, f.medium.VolumeID)
	both32(d[80:], v.blocks)
	both16(d[120:], 1) // volumes in the set
	both16(d[124:], 1) // number of this one
	both16(d[128:], BlockSize)
	both32(d[132:], f.pathTable)
	table := v.directories - 2*blocks(int64(f.pathTable))
	binary.LittleEndian.PutUint32(d[140:], table)
	binary.BigEndian.PutUint32(d[148:], table+blocks(int64(f.pathTable)))
	copy(d[156:190], record(rootID, f.root, nil, v.directories+f.root.offset, f.root.length, flagDirectory))
	text(190, 128, "") // volume set
	text(318, 128, f.medium.Publisher)
	text(446, 128, "") // preparer
	text(574, 128, f.medium.Application)
	text(702, 111, "") // files with copyright, abstract and bibliography, 37 bytes each
	made := f.medium.Time.UTC().Format("20060102150405") + "00\x00"
	const never = "0000000000000000\x00"
	copy(d[813:], made+made+never+never) // creation, modification, expiration, effective
	d[881] = 1                           // version of this structure
	return d
}

// Flags of directory records (ECMA-119, 9.1.6).
const (
	flagDirectory   = 0x02
	flagMultiExtent = 0x80
)

// Identifiers of "." and ".." (ECMA-119, 7.6.2).
const (
	rootID = "\x00"
	upID   = "\x01"
)

// maxExtent is the longest extent of a file: whole blocks, in 32 bits.
const maxExtent = math.MaxUint32 / BlockSize * BlockSize

// encode returns a directory's records and its continuation blocks.
func (n *node) encode(v view) (records, continuation []byte) {
	at := v.directories + n.offset + n.length/BlockSize
	add := func(id string, c *node, use []entry, block uint32, size uint64, flags byte) {
		inline, rest := fit(use, len(id))
		if len(rest) > 0 {
			continuation = fill(continuation, len(rest))
			inline = append(inline, suspCE(at+uint32(len(continuation)/BlockSize), len(continuation)%BlockSize, len(rest))...)
			continuation = append(continuation, rest...)
		}
		for {
			length, more := size, byte(0)
			if size > maxExtent {
				length, more = maxExtent, flagMultiExtent
			}
			r := record(id, c, inline, block, uint32(length), flags|more)
			records = append(fill(records, len(r)), r...)
			if more == 0 {
				return
			}
			size, block = size-length, block+maxExtent/BlockSize
		}
	}
	directory := func(id string, c *node, use []entry) {
		add(id, c, use, v.directories+c.offset, uint64(c.length), flagDirectory)
	}
	use := n.attributes()
	if n.parent == n {
		use = append(append([]entry{suspSP}, use...), suspER)
	}
	directory(rootID, n, use)
	directory(upID, n.parent, n.parent.attributes())
	for _, c := range n.children {
		use := append(c.attributes(), c.names()...)
		content := c
		if c.target != nil {
			content = c.target
		}
		switch {
		case c.entry.IsDir():
			directory(c.id, c, use)
		case content.entry.Size == 0:
			add(c.id, c, use, 0, 0, 0)
		default:
			add(c.id, c, use, v.shift+content.block, uint64(content.entry.Size), 0)
		}
	}
	return pad(records, int(blocks(int64(len(records))))*BlockSize), continuation
}

// fill adds zeros so that what comes next, of a length, does not cross the end of a block.
func fill(b []byte, length int) []byte {
	if len(b)%BlockSize+length > BlockSize {
		return pad(b, int(blocks(int64(len(b))))*BlockSize)
	}
	return b
}

func pad(b []byte, length int) []byte { return append(b, make([]byte, length-len(b))...) }

// recordHead is the length of a directory record without identifier and system use (ECMA-119, 9.1).
const recordHead = 33

// record returns a directory record (ECMA-119, 9.1).
func record(id string, n *node, use []byte, block, length uint32, flags byte) []byte {
	r := make([]byte, recordHead, maxRecord+1)
	both32(r[2:], block)
	both32(r[10:], length)
	copy(r[18:], shortTime(n.entry.ModTime))
	r[25] = flags
	both16(r[28:], 1) // number of the volume
	r[32] = byte(len(id))
	r = append(r, id...)
	if len(r)%2 != 0 {
		r = append(r, 0)
	}
	if r = append(r, use...); len(r)%2 != 0 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	return r
}

// shortTime returns a time as in a directory record (ECMA-119, 9.1.5), in UTC. Years are those from 1900 to 2155.
func shortTime(t time.Time) []byte {
	t = t.UTC()
	switch {
	case t.Year() < 1900:
		t = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 1900+math.MaxUint8:
		t = time.Date(1900+math.MaxUint8, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()),
		byte(t.Second()), 0}
}

// pathID is the identifier of a directory in path tables.
func pathID(d *node) string {
	if d.parent == d {
		return rootID
	}
	return d.id
}

func pathRecordLength(d *node) uint32 { return roundUp(8+uint32(len(pathID(d))), 2) }

// pathRecord returns an entry of a path table (ECMA-119, 9.4).
func pathRecord(d *node, v view, order binary.AppendByteOrder) []byte {
	id := pathID(d)
	r := []byte{byte(len(id)), 0}
	r = order.AppendUint32(r, v.directories+d.offset)
	r = order.AppendUint16(r, uint16(d.parent.number))
	return pad(append(r, id...), int(pathRecordLength(d)))
}

// both16 and both32 write a number in both byte orders (ECMA-119, 7.2.3 and 7.3.3).
func both16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}

func both32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}

func both32Of(n uint32) []byte {
	b := make([]byte, 8)
	both32(b, n)
	return b
}

// maxRecord is the length of the longest directory record; the length is one byte, and even.
const maxRecord = 254

// entry is an entry of a system use field (SUSP 1.12, 4).
type entry []byte

// maxData is what an entry holds beside its head and a byte of flags.
const maxData = 250

// newEntry returns an entry.
func newEntry(signature string, parts ...[]byte) entry {
	data := bytes.Join(parts, nil)
	return append([]byte{signature[0], signature[1], byte(len(data) + 4), 1}, data...)
}

// ceLength is the length of an entry that leads to a continuation area.
const ceLength = 28

// suspCE returns that entry (SUSP 1.12, 5.1).
func suspCE(block uint32, offset, length int) entry {
	return newEntry("CE", both32Of(block), both32Of(uint32(offset)), both32Of(uint32(length)))
}

var (
	// suspSP marks a file system with system use fields (SUSP 1.12, 5.3).
	suspSP = newEntry("SP", []byte{0xbe, 0xef, 0})
	// suspER names Rock Ridge, in the words of RRIP 1.10, 4.3.
	suspER = extension("RRIP_1991A",
		"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
		"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR "+
			"FOR CONTACT INFORMATION.")
)

// extension returns an ER entry (SUSP 1.12, 5.5).
func extension(id, description, source string) entry {
	return newEntry("ER", []byte{byte(len(id)), byte(len(description)), byte(len(source)), 1},
		[]byte(id+description+source))
}

// fit divides a system use field between the record of an identifier and a continuation area.
func fit(use []entry, id int) (inline, rest []byte) {
	room := maxRecord - int(roundUp(uint32(recordHead+id), 2))
	total := 0
	for _, e := range use {
		total += len(e)
	}
	if total <= room {
		return bytes.Join(entries(use), nil), nil
	}
	for i, e := range use {
		if len(inline)+len(e)+ceLength > room {
			return inline, bytes.Join(entries(use[i:]), nil)
		}
		inline = append(inline, e...)
	}
	panic("BUG: a field that is too long fits")
}

func entries(use []entry) [][]byte {
	out := make([][]byte, len(use))
	for i, e := range use {
		out[i] = e
	}
	return out
}

// attributes returns permissions, owner and times (RRIP 1.12, 4.1.1 and 4.1.6).
func (n *node) attributes() []entry {
	e := n.entry
	links := uint32(1)
	if e.IsDir() {
		links = 2
		for _, c := range n.children {
			if c.entry.IsDir() {
				links++
			}
		}
	}
	const modified = 0x02
	return []entry{
		newEntry("PX", both32Of(e.Mode), both32Of(links), both32Of(e.UID), both32Of(e.GID)),
		newEntry("TF", []byte{modified}, shortTime(e.ModTime)),
	}
}

// Flags of NM and SL entries and of the components of a target (RRIP 1.12, 4.1.3 and 4.1.4).
const (
	flagContinue = 0x01
	flagCurrent  = 0x02
	flagParent   = 0x04
	flagRoot     = 0x08
)

// names returns the name, and the target of a symbolic link.
func (n *node) names() []entry {
	var use []entry
	name := []byte(path.Base(n.entry.Name))
	for ; len(name) > maxData; name = name[maxData:] {
		use = append(use, newEntry("NM", []byte{flagContinue}, name[:maxData]))
	}
	use = append(use, newEntry("NM", []byte{0}, name))
	if n.entry.Mode&unix.S_IFMT == unix.S_IFLNK {
		use = append(use, newEntry("SL", []byte{0}, target(n.entry.Linkname)))
	}
	return use
}

// target returns the components of a target, each with its head. Of more than maxData, libarchive 3.6 loses slashes.
func target(text string) []byte {
	var all []byte
	if strings.HasPrefix(text, "/") {
		all = append(all, flagRoot, 0)
	}
	for _, word := range strings.Split(text, "/") {
		switch word {
		case "":
		case ".":
			all = append(all, flagCurrent, 0)
		case "..":
			all = append(all, flagParent, 0)
		default:
			all = append(all, 0, byte(len(word)))
			all = append(all, word...)
		}
	}
	return all
}

// Boot catalogue (El Torito 1.0, 2).
const (
	bootable     = 0x88
	platformBIOS = 0x00
	platformEFI  = 0xef // UEFI 2.10, 13.3.2.1
	lastSection  = 0x91
	// biosSectors is how much of the image a BIOS loads, in sectors of 512 bytes: all BIOSes load four, and the image
	// loads the rest of itself.
	biosSectors = 4
)

// catalogue returns the boot catalogue; nil if nothing boots.
func (f *filesystem) catalogue(m Medium, esp diskimage.Partition) ([]byte, error) {
	type image struct {
		platform byte
		sectors  uint16
		block    uint32
	}
	var images []image
	if m.BIOSImage != "" {
		extents, err := f.Extents(m.BIOSImage)
		if err != nil {
			return nil, fmt.Errorf("boot image for BIOS: %w", err)
		}
		if len(extents) == 0 {
			return nil, fmt.Errorf("boot image for BIOS: %s is empty", m.BIOSImage)
		}
		images = append(images, image{platformBIOS, biosSectors, f.start + uint32(extents[0].Offset/BlockSize)})
	}
	if esp.Size > 0 {
		sectors := esp.Size / diskimage.SectorSize
		if sectors > math.MaxUint16 {
			sectors = 0 // to the end of the medium
		}
		images = append(images, image{platformEFI, uint16(sectors), uint32(esp.Start / BlockSize)})
	}
	if len(images) == 0 {
		return nil, nil
	}
	validation := make([]byte, 32)
	validation[0], validation[1], validation[30], validation[31] = 1, images[0].platform, 0x55, 0xaa
	var sum uint16
	for i := 0; i < len(validation); i += 2 {
		sum += binary.LittleEndian.Uint16(validation[i:])
	}
	binary.LittleEndian.PutUint16(validation[28:], -sum)
	out := validation
	for i, image := range images {
		if i > 0 {
			section := make([]byte, 32)
			section[0], section[1], section[2] = lastSection, image.platform, 1
			out = append(out, section...)
		}
		entry := make([]byte, 32)
		entry[0] = bootable
		binary.LittleEndian.PutUint16(entry[6:], image.sectors)
		binary.LittleEndian.PutUint32(entry[8:], image.block)
		out = append(out, entry...)
	}
	return out, nil
}
