// SPDX-License-Identifier: Apache-2.0

package luks

import (
	"context"
	"crypto/aes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/direct"
)

// volume is an encrypted file system.
type volume struct {
	container *Container
	plain     diskimage.Volume
	size      int64 // of the file system
}

// Volume encrypts a file system that was planned for a partition of size bytes without HeaderSize. It is for one
// partition only: what two have in common would be the same in both.
func (c *Container) Volume(size diskimage.Size, plain diskimage.Volume) (diskimage.Volume, error) {
	if size <= HeaderSize || size%SectorSize != 0 {
		return nil, fmt.Errorf("a LUKS2 partition of %s: want more than %s, and whole sectors of %d bytes", size, HeaderSize,
			SectorSize)
	}
	return &volume{c, plain, int64(size - HeaderSize)}, nil
}

// Extents implements diskimage.Volume. No boot loader can read an encrypted file.
func (v *volume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("%s is encrypted: %w", name, fs.ErrNotExist)
}

// Used implements diskimage.UsedSpace.
func (v *volume) Used() []diskimage.Extent {
	used := []diskimage.Extent{{Length: int64(len(v.container.header))}}
	for _, e := range v.usedPlain() {
		used = append(used, diskimage.Extent{Offset: int64(HeaderSize) + e.Offset, Length: e.Length})
	}
	return used
}

// Zeros implements diskimage.UsedSpace: encrypted zeros are written.
func (v *volume) Zeros() []diskimage.Extent { return nil }

// usedPlain returns the sectors that the file system uses, sorted and not adjacent.
func (v *volume) usedPlain() []diskimage.Extent {
	space, known := v.plain.(diskimage.UsedSpace)
	if !known {
		return []diskimage.Extent{{Length: v.size}}
	}
	var used []diskimage.Extent
	for _, e := range space.Used() {
		start := e.Offset / SectorSize * SectorSize
		end := min((e.Offset+e.Length+SectorSize-1)/SectorSize*SectorSize, v.size)
		if last := len(used) - 1; last >= 0 && start <= used[last].Offset+used[last].Length {
			used[last].Length = max(used[last].Length, end-used[last].Offset)
			continue
		}
		used = append(used, diskimage.Extent{Offset: start, Length: end - start})
	}
	return used
}

// Write implements diskimage.Volume.
func (v *volume) Write(ctx context.Context, dst io.WriterAt) (err error) {
	if _, err := dst.WriteAt(v.container.header, 0); err != nil {
		return fmt.Errorf("write the LUKS2 header: %w", err)
	}
	e := &encrypter{dst: dst, data: v.container.data, size: v.size, partial: -1}
	e.done = make([]uint64, v.size/SectorSize/64+1)
	var free func() error
	e.buf, free = direct.Buffer(chunk)
	defer func() { err = errors.Join(err, free()) }()
	if err := v.plain.Write(ctx, e); err != nil {
		return err
	}
	if err := e.flush(); err != nil {
		return err
	}
	// What the file system left as zeros would be noise when it is decrypted.
	for _, used := range v.usedPlain() {
		if err := e.writeZeros(ctx, used); err != nil {
			return err
		}
	}
	return nil
}

// chunk is the maximum length of one write.
const chunk = 1 << 20

// encrypter encrypts the sectors that are written to it.
type encrypter struct {
	dst  io.WriterAt
	data *sectorCipher
	size int64
	buf  []byte
	// done has a bit for each sector that was written.
	done []uint64
	// partial is the number of the sector in sector, which is not complete yet; -1 for none.
	partial int64
	sector  [SectorSize]byte
}

// WriteAt implements io.WriterAt. The parts of a sector may be written one after the other, with nothing between them.
func (e *encrypter) WriteAt(b []byte, offset int64) (int, error) {
	if offset < 0 || offset > e.size || int64(len(b)) > e.size-offset {
		return 0, fmt.Errorf("BUG: %d bytes at offset %d are outside the file system's %d bytes", len(b), offset, e.size)
	}
	written := 0
	for len(b) > 0 {
		n := len(b) / SectorSize * SectorSize
		if inside := int(offset % SectorSize); inside > 0 || n == 0 {
			n = min(len(b), SectorSize-inside)
			if err := e.fill(b[:n], offset); err != nil {
				return written, err
			}
		} else if err := e.encrypt(b[:n], offset/SectorSize); err != nil {
			return written, err
		}
		b, offset, written = b[n:], offset+int64(n), written+n
	}
	return written, nil
}

// fill changes a part of a sector.
func (e *encrypter) fill(b []byte, offset int64) error {
	number := offset / SectorSize
	if e.partial != number {
		if err := e.flush(); err != nil {
			return err
		}
		if e.isDone(number) {
			return fmt.Errorf("BUG: part of sector %d is written after the sector", number)
		}
		e.partial = number
		clear(e.sector[:])
	}
	copy(e.sector[offset%SectorSize:], b)
	return nil
}

// flush writes the sector that is not complete.
func (e *encrypter) flush() error {
	if e.partial < 0 {
		return nil
	}
	number := e.partial
	e.partial = -1
	return e.encrypt(e.sector[:], number)
}

func (e *encrypter) isDone(number int64) bool { return e.done[number/64]>>(number%64)&1 == 1 }

// encrypt writes whole sectors, of which number is the first.
func (e *encrypter) encrypt(b []byte, number int64) error {
	for len(b) > 0 {
		n := min(len(b), len(e.buf))
		e.inParallel(e.buf[:n], b[:n], number)
		if _, err := e.dst.WriteAt(e.buf[:n], int64(HeaderSize)+number*SectorSize); err != nil {
			return err
		}
		for range n / SectorSize {
			e.done[number/64] |= 1 << (number % 64)
			number++
		}
		b = b[n:]
	}
	return nil
}

// shortest is the minimum length for which a second goroutine is worth its start.
const shortest = 64 << 10

// inParallel encrypts whole sectors from src to dst on all processors.
func (e *encrypter) inParallel(dst, src []byte, number int64) {
	workers := min(runtime.GOMAXPROCS(0), 1+len(src)/shortest)
	part := (len(src)/SectorSize + workers - 1) / workers * SectorSize
	var group sync.WaitGroup
	for start := 0; start < len(src); start += part {
		end := min(start+part, len(src))
		first := number + int64(start/SectorSize)
		work := func() { e.data.encryptSectors(dst[start:end], src[start:end], first) }
		if end == len(src) {
			work()
			continue
		}
		group.Go(work)
	}
	group.Wait()
}

// encryptSectors encrypts whole sectors, of which number is the first.
func (x *sectorCipher) encryptSectors(dst, src []byte, number int64) {
	var tweak [aes.BlockSize]byte
	for i := 0; i < len(src); i += SectorSize {
		x.encrypt(dst[i:i+SectorSize], src[i:i+SectorSize], uint64(number)*(SectorSize/512), &tweak)
		number++
	}
}

var zeros [chunk]byte

// writeZeros writes zeros to those sectors of a range that were not written.
func (e *encrypter) writeZeros(ctx context.Context, used diskimage.Extent) error {
	end := (used.Offset + used.Length) / SectorSize
	for number := used.Offset / SectorSize; number < end; {
		if e.isDone(number) {
			number++
			continue
		}
		length := int64(1)
		for number+length < end && length < chunk/SectorSize && !e.isDone(number+length) {
			length++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.encrypt(zeros[:length*SectorSize], number); err != nil {
			return err
		}
		number += length
	}
	return nil
}
