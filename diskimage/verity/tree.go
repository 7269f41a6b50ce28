// SPDX-License-Identifier: Apache-2.0

package verity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// BlockSize is the size of the blocks of data that are verified, and of those that hold hashes.
const BlockSize = 4096

// perBlock is the number of hashes in a block.
const perBlock = BlockSize / sha256.Size

// Options are what the content of a tree depends on besides the data.
type Options struct {
	// UUID identifies the hash partition.
	UUID uuid.UUID
	// Salt is hashed before each block. It has up to MaxSalt bytes; veritysetup's default are 32.
	Salt []byte
}

// Tree is the content of a hash partition: a superblock and the levels of the tree, of which that of
// a single block comes first. It implements diskimage.Volume.
type Tree struct {
	content []byte
	root    [sha256.Size]byte
}

// HashSize returns the length of the tree of size bytes of data.
func HashSize(size diskimage.Size) diskimage.Size {
	blocks := uint64(1) // the superblock
	for _, n := range levels(uint64(size) / BlockSize) {
		blocks += n
	}
	return diskimage.Size(blocks * BlockSize)
}

// levels returns the number of blocks of each level of the tree of some blocks of data, from the
// largest to that of a single block. The tree of one block has none: its hash is the root hash.
func levels(blocks uint64) []uint64 {
	var all []uint64
	for blocks > 1 {
		blocks = (blocks + perBlock - 1) / perBlock
		all = append(all, blocks)
	}
	return all
}

// New hashes size bytes of data, for a partition of that length. If data ends before, zeros follow.
func New(ctx context.Context, data io.ReaderAt, size diskimage.Size, o Options) (*Tree, error) {
	switch {
	case size == 0 || size%BlockSize != 0:
		return nil, fmt.Errorf("hash tree of %s: want whole blocks of %d bytes", size, BlockSize)
	case len(o.Salt) > MaxSalt:
		return nil, fmt.Errorf("hash tree with a salt of %d bytes: at most %d are possible", len(o.Salt), MaxSalt)
	}
	t := &Tree{content: make([]byte, HashSize(size))}
	blocks := uint64(size) / BlockSize
	head := superblock{
		Version: 1, HashType: 1, UUID: o.UUID, DataBlockSize: BlockSize, HashBlockSize: BlockSize, DataBlocks: blocks,
		SaltSize: uint16(len(o.Salt)),
	}
	copy(head.Signature[:], signature)
	copy(head.Algorithm[:], "sha256")
	copy(head.Salt[:], o.Salt)
	if _, err := binary.Encode(t.content, binary.LittleEndian, head); err != nil {
		return nil, fmt.Errorf("BUG: superblock: %w", err)
	}
	// The levels are made from the data up, and stored from the root down.
	h, end := newHasher(o.Salt), len(t.content)
	for _, n := range levels(blocks) {
		level := t.content[end-int(n)*BlockSize : end]
		if err := h.hash(ctx, level, data, blocks); err != nil {
			return nil, err
		}
		data, blocks, end = bytes.NewReader(level), n, end-len(level)
	}
	if err := h.hash(ctx, t.root[:], data, 1); err != nil {
		return nil, err
	}
	return t, nil
}

// RootHash returns the hash of the whole tree in hexadecimal, as in the kernel argument roothash=.
func (t *Tree) RootHash() string { return hex.EncodeToString(t.root[:]) }

// PartitionIDs returns the IDs of the partitions by which the root hash alone finds them: its two
// halves (Discoverable Partitions Specification, "Verity").
func (t *Tree) PartitionIDs() (data, tree uuid.UUID) {
	return uuid.UUID(t.root[:16]), uuid.UUID(t.root[16:])
}

// Extents implements diskimage.Volume. There are no files.
func (t *Tree) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("position of %s in a hash tree: %w", name, fs.ErrNotExist)
}

// Used implements diskimage.UsedSpace.
func (t *Tree) Used() []diskimage.Extent { return []diskimage.Extent{{Length: int64(len(t.content))}} }

// Zeros implements diskimage.UsedSpace.
func (t *Tree) Zeros() []diskimage.Extent { return nil }

// Write implements diskimage.Volume.
func (t *Tree) Write(ctx context.Context, dst io.WriterAt) error {
	offset := int64(0)
	for part := range slices.Chunk(t.content, chunk*BlockSize) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := dst.WriteAt(part, offset); err != nil {
			return fmt.Errorf("write the hash tree at %d: %w", offset, err)
		}
		offset += int64(len(part))
	}
	return nil
}

// hasher hashes blocks with a salt.
type hasher struct {
	salt []byte
	// zero is the hash of a block of zeros: free space is not hashed again and again.
	zero [sha256.Size]byte
}

func newHasher(salt []byte) *hasher {
	h := &hasher{salt: salt}
	h.block(sha256.New(), h.zero[:], zeroBlock[:])
	return h
}

var zeroBlock [BlockSize]byte

// block writes the hash of a block to sum.
func (h *hasher) block(state hash.Hash, sum, block []byte) {
	state.Reset()
	state.Write(h.salt)
	state.Write(block)
	state.Sum(sum[:0])
}

// chunk is the number of blocks that are read at once.
const chunk = 256

// hash writes the hashes of the first blocks of data to sums, on all processors.
func (h *hasher) hash(ctx context.Context, sums []byte, data io.ReaderAt, blocks uint64) error {
	chunks := (blocks + chunk - 1) / chunk
	var next atomic.Uint64
	group, ctx := errgroup.WithContext(ctx)
	for range min(chunks, uint64(runtime.GOMAXPROCS(0))) {
		group.Go(func() error {
			state, buf := sha256.New(), make([]byte, min(blocks, chunk)*BlockSize)
			for {
				first := (next.Add(1) - 1) * chunk
				if first >= blocks {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				n := min(blocks-first, chunk)
				if err := readFull(data, buf[:n*BlockSize], int64(first*BlockSize)); err != nil {
					return err
				}
				for i := range n {
					block, sum := buf[i*BlockSize:(i+1)*BlockSize], sums[(first+i)*sha256.Size:][:sha256.Size]
					if bytes.Equal(block, zeroBlock[:]) {
						copy(sum, h.zero[:])
						continue
					}
					h.block(state, sum, block)
				}
			}
		})
	}
	return group.Wait()
}

// readFull reads bytes at an offset; beyond the end of data there are zeros.
func readFull(data io.ReaderAt, b []byte, offset int64) error {
	n, err := data.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the data of a hash tree at %d: %w", offset, err)
	}
	clear(b[n:])
	return nil
}
