// SPDX-License-Identifier: Apache-2.0

// Package fatread reads FAT12, FAT16 and FAT32 file systems from an image file, without mounting
// anything.
//
//	fs, err := fatread.New(section) // an io.ReaderAt of the partition
//	for e, err := range fs.Entries() { … }
//
// A FileSystem is a diskimage.Tree, with long names, parents first and in byte order. FAT has no
// owners: root owns everything, directories have mode 0755 and files 0644, or 0444 if they are
// read-only. Times are read as UTC. References outside of the file system, or in a circle, are
// errors that name the file.
//
// FAT has no checksums. What it holds twice is compared: the FATs, the boot sector of a FAT32, the
// length of a file and of its chain of clusters, a directory and its entry ".". A cluster that is
// used twice or not at all is an error, as for fsck.fat. Other damage in a directory, such as
// another character in a name, is not noticed.
//
// Not supported: exFAT, and short names in code pages other than ASCII.
//
// Source: Microsoft's "FAT: General Overview of On-Disk Format", 1.03 (fatgen).
package fatread

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// ErrNoFAT is returned for an image without a FAT file system.
var ErrNoFAT = errors.New("no FAT file system")

const (
	bootSectorSize = 512
	// Minimum numbers of clusters of a FAT16 and a FAT32 (fatgen, "FAT Type Determination").
	minFAT16 = 4085
	minFAT32 = 65525
	// firstCluster is the number of the first cluster of the data.
	firstCluster = 2
	// maxClusters is the maximum for numbers of 28 bits, without the reserved numbers.
	maxClusters = 0x0ffffff5

	entrySize     = 32
	maxDirectory  = 65536 * entrySize
	attrReadOnly  = 0x01
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLongName  = 0x0f
	lastLong      = 0x40
	deleted       = 0xe5
	// notMirrored is the flag of a FAT32 whose FATs are not copies of each other.
	notMirrored = 0x80
	// Bits of the reserved byte with which Windows marks a short name as lower case.
	lowerBase, lowerExt = 0x08, 0x10
)

// FileSystem is an open file system. Several goroutines may use it at once if they may use its
// io.ReaderAt.
type FileSystem struct {
	r           io.ReaderAt
	bits        int
	clusterSize int64
	dataStart   int64 // of cluster 2
	clusters    uint32
	rootStart   int64 // of FAT12 and FAT16
	rootSize    int64
	rootCluster uint32 // of FAT32
	volumeID    uint32
	label       string
	size        int64
	fat         []byte
}

// New opens the file system at the start of r and reads its first FAT. The error wraps ErrNoFAT if
// r holds something else.
func New(r io.ReaderAt) (*FileSystem, error) {
	b := make([]byte, bootSectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, ErrNoFAT
		}
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[0x0b:])), int64(b[0x0d])
	reserved, fats, rootEntries := int64(le.Uint16(b[0x0e:])), int64(b[0x10]), int64(le.Uint16(b[0x11:]))
	powerOfTwo := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	if le.Uint16(b[510:]) != 0xaa55 || !powerOfTwo(sector) || sector < 512 || sector > 4096 ||
		!powerOfTwo(perCluster) ||
		reserved == 0 || fats == 0 || fats > 4 {
		return nil, ErrNoFAT
	}
	sectors := int64(le.Uint16(b[0x13:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[0x20:]))
	}
	fatSectors := int64(le.Uint16(b[0x16:]))
	if fatSectors == 0 {
		fatSectors = int64(le.Uint32(b[0x24:]))
	}
	rootSectors := (rootEntries*entrySize + sector - 1) / sector
	dataSectors := sectors - reserved - fats*fatSectors - rootSectors
	if fatSectors == 0 || dataSectors < perCluster {
		return nil, ErrNoFAT
	}
	fs := &FileSystem{
		r: r, clusterSize: perCluster * sector, clusters: uint32(dataSectors / perCluster),
		rootStart: (reserved + fats*fatSectors) * sector, rootSize: rootEntries * entrySize,
		dataStart: (reserved + fats*fatSectors + rootSectors) * sector,
	}
	fs.volumeID, fs.label, fs.size = le.Uint32(b[0x27:]), labelOf(b[0x2b:]), sectors*sector
	switch {
	case fs.clusters < minFAT16:
		fs.bits = 12
	case fs.clusters < minFAT32:
		fs.bits = 16
	default:
		fs.bits, fs.rootCluster = 32, le.Uint32(b[0x2c:])
		fs.volumeID, fs.label = le.Uint32(b[0x43:]), labelOf(b[0x47:])
	}
	if dataSectors/perCluster > maxClusters {
		return nil, errors.New("the boot sector declares more clusters than a FAT can have")
	}
	need := (int64(fs.clusters)+firstCluster)*int64(fs.bits)/8 + 1
	if need > fatSectors*sector+1 {
		return nil, errors.New("the FAT is shorter than the file system")
	}
	// The FAT is read in pieces, because a short image may declare a long one.
	length := min(need+1, fatSectors*sector)
	fat, err := io.ReadAll(io.NewSectionReader(r, reserved*sector, length))
	if err != nil {
		return nil, fmt.Errorf("read FAT: %w", err)
	}
	if int64(len(fat)) < length {
		return nil, errors.New("the image ends in the FAT")
	}
	if err := checkCopies(r, b, fat, reserved*sector, fatSectors*sector); err != nil {
		return nil, err
	}
	fs.fat = append(fat, make([]byte, need+1-length)...)
	return fs, nil
}

// checkCopies compares the first FAT, which was read from start, with the boot sector, with the
// other FATs, which follow in steps of size bytes, and the boot sector of a FAT32 with its copy.
func checkCopies(r io.ReaderAt, boot, fat []byte, start, size int64) error {
	le := binary.LittleEndian
	if fat[0] != boot[0x15] { // the media byte
		return fmt.Errorf("FAT: %w", fsread.ErrDamaged)
	}
	is32 := le.Uint16(boot[0x16:]) == 0
	if is32 && le.Uint16(boot[0x28:])&notMirrored != 0 {
		return errors.New("FATs that are not copies of each other are not supported")
	}
	for i := int64(1); i < int64(boot[0x10]); i++ {
		other := make([]byte, len(fat))
		if err := fsread.ReadFull(r, other, start+i*size); err != nil {
			return fmt.Errorf("read FAT %d: %w", i+1, err)
		}
		if !bytes.Equal(fat, other) {
			return fmt.Errorf("FATs 1 and %d differ: %w", i+1, fsread.ErrDamaged)
		}
	}
	backup := int64(le.Uint16(boot[0x32:]))
	if !is32 || backup == 0 || backup == 0xffff {
		return nil
	}
	other, err := fsread.Read(r, backup*int64(le.Uint16(boot[0x0b:])), bootSectorSize)
	if err != nil {
		return fmt.Errorf("read copy of the boot sector: %w", err)
	}
	const parameters, end, serial, serialEnd = 0x0b, 0x40, 0x43, 0x47 // the byte between holds the state of a mount
	if !bytes.Equal(boot[parameters:end], other[parameters:end]) ||
		!bytes.Equal(boot[serial:serialEnd], other[serial:serialEnd]) {
		return fmt.Errorf("the boot sector and its copy differ: %w", fsread.ErrDamaged)
	}
	return nil
}

// VolumeID returns the volume ID in the form of blkid(8) and fstab(5): "1234-ABCD".
func (fs *FileSystem) VolumeID() string {
	return fmt.Sprintf("%04X-%04X", fs.volumeID>>16, fs.volumeID&0xffff)
}

// labelOf returns the volume label at the start of b; a volume without one has "NO NAME".
func labelOf(b []byte) string {
	label := strings.TrimRight(string(b[:11]), " \x00")
	if label == "NO NAME" {
		return ""
	}
	return label
}

// Label returns the volume label in the boot sector, which may be empty.
func (fs *FileSystem) Label() string { return fs.label }

// Size returns the length of the file system in bytes, and how many of them are free.
func (fs *FileSystem) Size() (size, free int64) {
	for cluster := uint32(firstCluster); cluster-firstCluster < fs.clusters; cluster++ {
		if next, _ := fs.next(cluster); next == 0 {
			free += fs.clusterSize
		}
	}
	return fs.size, free
}

// next returns the cluster that follows another one; ok is false at the end of a file.
func (fs *FileSystem) next(cluster uint32) (next uint32, ok bool) {
	le := binary.LittleEndian
	var end uint32
	switch fs.bits {
	case 12:
		next = uint32(le.Uint16(fs.fat[cluster*3/2:]))
		if cluster%2 == 1 {
			next >>= 4
		}
		next, end = next&0xfff, 0xff8
	case 16:
		next, end = uint32(le.Uint16(fs.fat[cluster*2:])), 0xfff8
	default:
		next, end = le.Uint32(fs.fat[cluster*4:])&0x0fffffff, 0x0ffffff8
	}
	return next, next < end
}

// chain returns the first size bytes of a file, or fewer if its chain of clusters, which is then in use, is shorter.
func (w *walker) chain(cluster uint32, size int64) (*fsread.Content, error) {
	fs := w.fs
	c := &fsread.Content{R: fs.r}
	for {
		if cluster < firstCluster || cluster-firstCluster >= fs.clusters || w.isUsed(cluster) {
			return nil, fmt.Errorf("its chain of clusters is damaged at number %d", cluster)
		}
		w.use(cluster)
		at, length := fs.dataStart+int64(cluster-firstCluster)*fs.clusterSize, min(size-c.Size, fs.clusterSize)
		if last := len(c.Pieces) - 1; last >= 0 && c.Pieces[last].Disk+c.Pieces[last].Length == at {
			c.Pieces[last].Length += length
		} else {
			c.Pieces = append(c.Pieces, fsread.Piece{Offset: c.Size, Length: length, Disk: at})
		}
		c.Size += length
		following, ok := fs.next(cluster)
		if !ok {
			return c, nil
		}
		if c.Size == size {
			return nil, fmt.Errorf("its chain of clusters is longer than its %d bytes: %w", size, fsread.ErrDamaged)
		}
		cluster = following
	}
}

func (w *walker) isUsed(cluster uint32) bool { return w.used[cluster/64]>>(cluster%64)&1 != 0 }

func (w *walker) use(cluster uint32) { w.used[cluster/64] |= 1 << (cluster % 64) }

// checkLost returns an error for a cluster that belongs to a file without a name.
func (w *walker) checkLost() error {
	for cluster := uint32(firstCluster); cluster-firstCluster < w.fs.clusters; cluster++ {
		next, ok := w.fs.next(cluster)
		bad := !ok && next == w.fs.badCluster()
		if next != 0 && !bad && !w.isUsed(cluster) {
			return fmt.Errorf("cluster %d belongs to no file: %w", cluster, fsread.ErrDamaged)
		}
	}
	return nil
}

// badCluster is the mark of a cluster that cannot be used.
func (fs *FileSystem) badCluster() uint32 { return 0x0ffffff7 & (1<<fs.bits - 1) }

// Entries implements diskimage.Tree.
func (fs *FileSystem) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		root := diskimage.Entry{Name: ".", Mode: unix.S_IFDIR | 0o755, ModTime: time.Unix(0, 0)}
		if !yield(root, nil) {
			return
		}
		w := walker{fs: fs, yield: yield, dirs: map[uint32]bool{fs.rootCluster: fs.bits == 32},
			used: make([]uint64, (uint64(fs.clusters)+firstCluster)/64+1)}
		data, err := w.rootDirectory()
		if err == nil {
			err = w.walk(".", data)
		}
		if err == nil {
			err = w.checkLost()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(diskimage.Entry{}, err)
		}
	}
}

var errStopped = errors.New("stopped")

// walker walks the whole tree.
type walker struct {
	fs    *FileSystem
	yield func(diskimage.Entry, error) bool
	// dirs are the first clusters of the directories that were listed. Each may have one name, because
	// a few with several names could make an endless tree.
	dirs map[uint32]bool
	used []uint64 // a bit for each cluster that is part of a file or directory
}

func (w *walker) rootDirectory() ([]byte, error) {
	fs := w.fs
	if fs.bits == 32 {
		return w.directory(fs.rootCluster)
	}
	return fsread.Read(fs.r, fs.rootStart, int(fs.rootSize))
}

// directory reads a directory, whose length is not recorded.
func (w *walker) directory(cluster uint32) ([]byte, error) {
	c, err := w.chain(cluster, maxDirectory)
	if err != nil {
		return nil, err
	}
	return fsread.Read(c, 0, int(c.Size))
}

// checkDots checks that a directory begins with an entry that leads to itself.
func (w *walker) checkDots(data []byte, cluster uint32) error {
	if len(data) < entrySize || string(data[:11]) != ".          " || startOf(data) != cluster {
		return fmt.Errorf("its entry \".\" is wrong: %w", fsread.ErrDamaged)
	}
	return nil
}

// walk yields the content of a directory.
func (w *walker) walk(dir string, data []byte) error {
	items, err := list(data)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, item := range items {
		name := path.Join(dir, item.name)
		e := diskimage.Entry{Name: name, Mode: unix.S_IFREG | 0o644, ModTime: item.modTime}
		if item.attributes&attrReadOnly != 0 {
			e.Mode = unix.S_IFREG | 0o444
		}
		if item.attributes&attrDirectory != 0 {
			e.Mode = unix.S_IFDIR | 0o755
			if w.dirs[item.cluster] {
				return fmt.Errorf("%s: the directory is linked twice", name)
			}
			w.dirs[item.cluster] = true
			inner, err := w.directory(item.cluster)
			if err == nil {
				err = w.checkDots(inner, item.cluster)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !w.yield(e, nil) {
				return errStopped
			}
			if err := w.walk(name, inner); err != nil {
				return err
			}
			continue
		}
		if item.size > 0 {
			c, err := w.chain(item.cluster, int64(item.size))
			if err == nil && c.Size < int64(item.size) {
				err = fmt.Errorf("its chain of clusters is shorter than its %d bytes: %w", item.size, fsread.ErrDamaged)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.Fill(&e)
		}
		if !w.yield(e, nil) {
			return errStopped
		}
	}
	return nil
}

// item is one file or directory in a directory.
type item struct {
	name       string
	attributes byte
	cluster    uint32
	size       uint32
	modTime    time.Time
}

// startOf returns the first cluster of an entry.
func startOf(e []byte) uint32 {
	le := binary.LittleEndian
	return uint32(le.Uint16(e[0x14:]))<<16 | uint32(le.Uint16(e[0x1a:]))
}

// list returns the items of a directory in byte order. The parts of a long name precede its entry,
// the last part first.
func list(data []byte) ([]item, error) {
	le := binary.LittleEndian
	var items []item
	var long []uint16
	var checksum byte
	for ; len(data) >= entrySize && data[0] != 0; data = data[entrySize:] {
		e := data[:entrySize]
		switch attributes := e[0x0b]; {
		case e[0] == deleted:
			long = nil
		case attributes&0x3f == attrLongName:
			if e[0]&lastLong != 0 {
				long, checksum = nil, e[0x0d]
			}
			long = append(longPart(e), long...)
		case attributes&attrVolume != 0:
			long = nil
		default:
			i := item{
				name: shortName(e), attributes: attributes, size: le.Uint32(e[0x1c:]),
				cluster: startOf(e),
				modTime: fatTime(le.Uint16(e[0x18:]), le.Uint16(e[0x16:])),
			}
			if long != nil {
				if checksum != shortSum(e) {
					return nil, fmt.Errorf("the long name of %q is not its own: %w", i.name, fsread.ErrDamaged)
				}
				if end := slices.Index(long, 0); end >= 0 {
					long = long[:end]
				}
				i.name = string(utf16.Decode(long))
			}
			long = nil
			if i.name == "" || strings.ContainsAny(i.name, "/\x00") {
				return nil, fmt.Errorf("invalid name %q: %w", i.name, fsread.ErrDamaged)
			}
			if i.name != "." && i.name != ".." {
				items = append(items, i)
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.name, b.name) })
	return items, nil
}

// longPart returns the 13 UTF-16 units of a part of a long name.
func longPart(e []byte) []uint16 {
	var units []uint16
	for _, part := range [][]byte{e[0x01:0x0b], e[0x0e:0x1a], e[0x1c:0x20]} {
		for ; len(part) > 0; part = part[2:] {
			units = append(units, binary.LittleEndian.Uint16(part))
		}
	}
	return units
}

// shortSum returns the checksum that ties a long name to its entry (fatgen, ChkSum).
func shortSum(e []byte) byte {
	var sum byte
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// shortName returns a short name with its dot.
func shortName(e []byte) string {
	base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[0] == 0x05 { // for 0xe5, which means "deleted"
		base = "\xe5" + base[1:]
	}
	if e[0x0c]&lowerBase != 0 {
		base = strings.ToLower(base)
	}
	if e[0x0c]&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// fatTime converts a date and a time of day, in steps of two seconds.
func fatTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63),
		int(clock&31)*2, 0, time.UTC)
}
