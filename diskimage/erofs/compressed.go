// SPDX-License-Identifier: Apache-2.0

package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// A compressed file is a sequence of logical clusters of one size. Where a physical cluster, some blocks of compressed
// data, begins in a logical one, that is a head; what follows up to the next head is in the same physical cluster.

const (
	// maxCluster and maxClusterData are the largest physical cluster and what it may hold.
	maxCluster     = 1 << 20
	maxClusterData = 12 << 20
	// maxClusters is the largest number of logical clusters in a file that is read: 64 GiB.
	maxClusters = 1 << 24
)

// methods are the methods of compression by their numbers.
var methods = []fsread.Method{fsread.LZ4, fsread.MicroLZMA, fsread.Deflate, fsread.Zstd}

// cluster is the entry of a logical cluster.
type cluster struct {
	offset, block uint32 // of the head
	blocks        uint16 // of the physical cluster, in the first entry after the head; 0 if it is not there
	kind          uint8
	partial       bool
}

// compressedFile is what is needed to read the map of a file.
type compressedFile struct {
	*inode
	header mapHeader
	bits   uint8 // of a logical cluster
	count  int64 // of logical clusters
	start  int64 // of the entries on the disk
	next   int64 // after the entry or pack of the last logical cluster: inline data
}

// compressed finds the content of a compressed file.
func (n *inode) compressed(c *fsread.Content) error {
	const headerSize, legacySize, maxBits = 8, 8, 20
	at := (n.end() + 7) &^ 7
	f := compressedFile{inode: n, start: at + headerSize}
	raw, err := fsread.Read(n.fs.r, at, headerSize)
	if err != nil {
		return err
	}
	decode(raw, &f.header)
	if f.header.ClusterBits&wholeInPacked != 0 {
		offset := binary.LittleEndian.Uint64(raw) &^ (1 << 63)
		c.Pieces = []fsread.Piece{n.fs.packedPiece(0, c.Size, offset)}
		return nil
	}
	if n.fs.sb.FeatureIncompat&featureZeroPadding == 0 {
		return errors.New("erofs with LZ4 as before Linux 5.3 is not supported")
	}
	f.bits = n.fs.sb.BlockBits + f.header.ClusterBits&15
	f.count = (c.Size-1)>>f.bits + 1
	compact := n.Format>>1&7 == layoutCompressedCompact
	switch {
	case f.count > maxClusters:
		return fsread.Damaged("a file of %d clusters", f.count)
	case f.bits > maxBits:
		return fsread.Damaged("logical clusters of 2^%d bytes", f.bits)
	case !compact && f.header.Advice&adviceCompact2 != 0:
		return errors.New("erofs with lists of extents is not supported")
	}
	var clusters []cluster
	if compact {
		clusters, err = f.compact()
	} else {
		f.start += legacySize
		clusters, err = f.full()
	}
	if err != nil {
		return err
	}
	c.Pieces, err = f.pieces(clusters, c.Size)
	return err
}

// packedPiece returns a part of a file that is in the packed inode.
func (fs *FileSystem) packedPiece(at, length int64, offset uint64) fsread.Piece {
	return fsread.Piece{Offset: at, Length: length, Load: func() ([]byte, error) {
		if fs.packed == nil {
			return nil, fsread.Damaged("a fragment, and there is no packed inode")
		}
		if offset > uint64(fs.packed.Size) || uint64(length) > uint64(fs.packed.Size)-offset {
			return nil, fsread.Damaged("a fragment is outside of the packed inode")
		}
		return fsread.Read(fs.packed, int64(offset), int(length))
	}}
}

// full reads the entries of eight bytes.
func (f *compressedFile) full() ([]cluster, error) {
	const entrySize = 8
	if err := f.fs.within(f.start, f.count*entrySize); err != nil {
		return nil, err
	}
	raw, err := fsread.Read(f.fs.r, f.start, int(f.count*entrySize))
	if err != nil {
		return nil, err
	}
	clusters := make([]cluster, f.count)
	for i := range clusters {
		var e clusterEntry
		decode(raw[i*entrySize:], &e)
		clusters[i] = cluster{kind: uint8(e.Advice & clusterTypes), offset: uint32(e.Offset), block: e.Block,
			partial: e.Advice&partialCluster != 0}
		if clusters[i].kind == clusterNonHead && e.Block&blockCount != 0 {
			clusters[i].blocks = uint16(e.Block) &^ blockCount
		}
	}
	f.next = f.start + f.count*entrySize
	return clusters, nil
}

// compact reads entries that are packed: some of four bytes up to an offset that is a multiple of 32, then, if wanted,
// of two bytes, 16 in a pack, and the rest of four bytes, two in a pack. A pack ends with the number of a block; each
// entry has a type and a number of the same length (z_erofs_load_compact_lcluster).
func (f *compressedFile) compact() ([]cluster, error) {
	const align, largePack = 32, 16
	initial := min((align-f.start%align)/4&7, f.count)
	packed := int64(0)
	if f.header.Advice&adviceCompact2 != 0 && initial < f.count {
		packed = (f.count - initial) / largePack * largePack
	}
	if err := f.fs.within(f.start, 2*f.count); err != nil {
		return nil, err
	}
	at := f.start
	var clusters []cluster
	for _, part := range []struct{ count, pack, size int64 }{
		{initial, 2, 4}, {packed, largePack, 2}, {f.count - initial - packed, 2, 4},
	} {
		// The first pack may begin before the entries.
		skip := at % (part.pack * part.size) / part.size
		if part.count == 0 {
			continue
		}
		for i := -skip; i < part.count; i += part.pack {
			pack, err := fsread.Read(f.fs.r, at+i*part.size, int(part.pack*part.size))
			if err != nil {
				return nil, err
			}
			all := f.unpack(pack, int(part.pack))
			clusters = append(clusters, all[max(0, -i):min(part.pack, part.count-i)]...)
			f.next = at + (i+part.pack)*part.size
		}
		at += part.count * part.size
	}
	return clusters, nil
}

// unpack decodes a pack.
func (f *compressedFile) unpack(pack []byte, count int) []cluster {
	const blockSize, typeBits, distanceBits = 4, 2, 12
	low := max(int(f.bits), distanceBits)
	width := (len(pack) - blockSize) * 8 / count
	block := binary.LittleEndian.Uint32(pack[len(pack)-blockSize:])
	big := f.header.Advice&adviceBigCluster1 != 0
	if !big {
		block++
	}
	all := make([]cluster, count)
	for i := range all {
		var word [8]byte
		copy(word[:], pack[i*width/8:])
		v := binary.LittleEndian.Uint64(word[:]) >> (i * width % 8)
		number, kind := uint32(v&(1<<low-1)), uint8(v>>low&(1<<typeBits-1))
		c := &all[i]
		c.kind = kind
		if kind != clusterNonHead {
			c.offset, c.block = number, block
			block++
			continue
		}
		if number&blockCount != 0 {
			c.blocks = uint16(number &^ blockCount)
			// A head in the same pack was counted as one block.
			block += uint32(c.blocks)
			if i > 0 && all[i-1].kind != clusterNonHead {
				block--
			}
		}
	}
	return all
}

// pieces returns the physical clusters of a file.
func (f *compressedFile) pieces(clusters []cluster, size int64) ([]fsread.Piece, error) {
	var pieces []fsread.Piece
	var heads []int
	for i, c := range clusters {
		start := int64(i)<<f.bits + int64(c.offset)
		switch {
		case c.kind == clusterNonHead && i == 0, i == 0 && c.offset != 0:
			return nil, fsread.Damaged("its first cluster has no head")
		case c.kind != clusterNonHead && c.offset >= 1<<f.bits:
			return nil, fsread.Damaged("the head of a cluster is outside of it")
		case c.kind != clusterNonHead && start < size:
			heads = append(heads, i)
		}
	}
	for k, i := range heads {
		start, end := int64(i)<<f.bits+int64(clusters[i].offset), size
		last := k == len(heads)-1
		if !last {
			end = int64(heads[k+1])<<f.bits + int64(clusters[heads[k+1]].offset)
		}
		if end <= start {
			return nil, fsread.Damaged("a cluster ends before it begins")
		}
		piece, err := f.piece(clusters, i, start, end-start, last)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// piece returns the physical cluster that begins in a logical one.
func (f *compressedFile) piece(clusters []cluster, i int, start, length int64, last bool) (fsread.Piece, error) {
	c := clusters[i]
	if length > maxClusterData {
		return fsread.Piece{}, fsread.Damaged("a cluster of %d bytes", length)
	}
	inline := int64(f.header.Fragment >> 16)
	at, stored := int64(c.block)<<f.fs.sb.BlockBits, f.fs.blockSize
	switch {
	case last && f.header.Advice&adviceFragment != 0:
		offset := uint64(f.header.Fragment)
		if f.Format>>1&7 == layoutCompressed {
			offset |= uint64(c.block) << 32
		}
		return f.fs.packedPiece(start, length, offset), nil
	case last && f.header.Advice&adviceInline != 0 && inline > 0:
		at, stored = f.next, inline
	default:
		big := uint16(adviceBigCluster2)
		if c.kind == clusterHead1 {
			big = adviceBigCluster1
		}
		if f.header.Advice&big != 0 && i+1 < len(clusters) && clusters[i+1].kind == clusterNonHead {
			if clusters[i+1].blocks == 0 {
				return fsread.Piece{}, fsread.Damaged("a cluster has no length")
			}
			stored *= int64(clusters[i+1].blocks)
		}
	}
	if stored > maxCluster {
		return fsread.Piece{}, fsread.Damaged("a cluster of %d compressed bytes", stored)
	}
	if err := f.fs.within(at, stored); err != nil {
		return fsread.Piece{}, err
	}
	if c.kind == clusterPlain {
		return f.plain(start, length, at, stored)
	}
	algorithm := f.header.Algorithms & 15
	if c.kind == clusterHead2 {
		algorithm = f.header.Algorithms >> 4
	}
	if int(algorithm) >= len(methods) {
		return fsread.Piece{}, fmt.Errorf("unknown compression %d", algorithm)
	}
	return fsread.Piece{Offset: start, Length: length, Load: func() ([]byte, error) {
		return f.fs.load(at, stored, length, methods[algorithm], c.partial)
	}}, nil
}

// plain returns a cluster that is not compressed. Interlaced ones begin at the offset that the data has in its block.
func (f *compressedFile) plain(start, length, at, stored int64) (fsread.Piece, error) {
	if length > stored {
		return fsread.Piece{}, fsread.Damaged("a cluster of %d bytes has %d", length, stored)
	}
	p := fsread.Piece{Offset: start, Length: length, Disk: at}
	if skip := start % f.fs.blockSize; f.header.Advice&adviceInterlaced != 0 && skip > 0 {
		if stored > f.fs.blockSize {
			return fsread.Piece{}, fsread.Damaged("an interlaced cluster of %d bytes", stored)
		}
		p.Load = func() ([]byte, error) {
			raw, err := fsread.Read(f.fs.r, at, int(stored))
			if err != nil || skip >= stored {
				return raw, err
			}
			return append(raw[skip:len(raw):len(raw)], raw[:skip]...), nil
		}
	}
	return p, nil
}

// load decompresses the cluster at an offset. Of a partial one only the first length bytes are wanted; it may be that
// of another file, too.
func (fs *FileSystem) load(at, stored, length int64, method fsread.Method, partial bool) ([]byte, error) {
	return fs.cache.Get(at, length, func() ([]byte, error) {
		raw, err := fsread.Read(fs.r, at, int(stored))
		if err != nil {
			return nil, err
		}
		for len(raw) > 0 && raw[0] == 0 {
			raw = raw[1:]
		}
		if !partial {
			return fsread.Decompress(method, raw, int(length))
		}
		for most := length; ; most = min(2*most, maxClusterData) {
			data, err := fsread.Decompress(method, raw, int(most))
			if err == nil || most == maxClusterData {
				return data, err
			}
		}
	})
}
