// SPDX-License-Identifier: Apache-2.0

package blocks

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// shareBlocks is the minimum number of contiguous blocks that are shared: for fewer blocks, the
// system call takes longer than the copy (measured on xfs: thresholds of 64 KiB, 16 KiB, 4 KiB took
// 0.26, 0.37, 0.53 s for a Debian system).
const shareBlocks = 64 << 10 / Size

// errNotShared means that a file system cannot share blocks, so that further attempts would fail,
// too.
var errNotShared = errors.New("blocks cannot be shared")

// Share shares the blocks of large files between the tree and the image if both are on the same
// file system and it supports that (btrfs, xfs), or lets a server copy them. It returns the number
// of shared blocks of each run, by the first block of the run. It returns no error: blocks that
// cannot be shared are copied later, which reports errors.
func Share(ctx context.Context, dst io.WriterAt, runs iter.Seq[Run]) map[uint32]uint32 {
	fd, offset, ok := diskimage.FileOf(dst)
	if !ok || offset%Size != 0 {
		return nil
	}
	defer runtime.KeepAlive(dst)
	do := cloneRange
	if serverCopies(fd) {
		do = copyRange
	}
	shared := map[uint32]uint32{}
	for r := range runs {
		// The last block of a file is shared only if it is whole.
		whole := uint32(min(int64(r.Count), r.File.Size/Size-int64(r.Logical)))
		if r.Count < shareBlocks || whole < shareBlocks {
			continue
		}
		r.Count = whole
		err := share(r, fd, offset, do)
		if errors.Is(err, errNotShared) || ctx.Err() != nil {
			break
		}
		if err == nil {
			shared[r.Block] = whole
		}
	}
	return shared
}

// fileRange is a range of one file and a range of the same length in another.
type fileRange struct {
	src, dst int // descriptors
	from, to int64
	length   int64
}

// share shares the blocks of one run.
func share(r Run, fd int, offset int64, do func(fileRange) error) error {
	content, err := r.File.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	source, start, ok := diskimage.FileOf(content)
	if !ok {
		return errors.ErrUnsupported
	}
	err = do(fileRange{
		src: source, from: start + int64(r.Logical)*Size,
		dst: fd, to: offset + int64(r.Block)*Size,
		length: int64(r.Count) * Size,
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV),
		errors.Is(err, unix.EPERM),
		errors.Is(err, unix.ENOSYS):
		return errNotShared
	}
	return err
}

// cloneRange shares the blocks of both ranges (FICLONERANGE of ioctl_ficlonerange(2)).
func cloneRange(r fileRange) error {
	return unix.IoctlFileCloneRange(r.dst, &unix.FileCloneRange{
		Src_fd: int64(r.src), Src_offset: uint64(r.from), Src_length: uint64(r.length), Dest_offset: uint64(r.to),
	})
}

// copyRange lets the file system copy the range (copy_file_range(2)).
func copyRange(r fileRange) error {
	for r.length > 0 {
		n, err := unix.CopyFileRange(r.src, &r.from, r.dst, &r.to, int(min(r.length, 1<<30)), 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err == nil && n == 0 {
			return io.ErrUnexpectedEOF
		}
		r.length -= int64(n)
	}
	return nil
}

// serverCopies reports whether the file system of a file is on a server that can copy, so that the
// data does not cross the network twice. On local file systems copy_file_range(2) is an ordinary
// copy through the page cache: on ext4 it took 0.34 s of the processor for 655 MiB, with a buffer
// and past the page cache 0.14 s.
func serverCopies(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch int64(st.Type) & math.MaxUint32 { // some numbers are negative on 32-bit machines
	case unix.NFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC:
		return true
	}
	return false
}

// withoutShared returns the part of a run that was not shared.
func withoutShared(r Run, shared map[uint32]uint32) Run { return r.from(shared[r.Block]) }

// reserver allocates space in the file system of the image before large writes, which reduces the
// total time by 15 % on ext4 and by 25 % on btrfs. Where that is not possible it only writes.
type reserver struct {
	io.WriterAt
	fd     int // negative if not possible
	offset int64
}

// newReserver returns a reserver for dst, for use by one goroutine.
func newReserver(dst io.WriterAt) *reserver {
	fd, offset, ok := diskimage.FileOf(dst)
	if !ok {
		fd = -1
	}
	return &reserver{dst, fd, offset}
}

// WriteAt implements io.WriterAt.
func (r *reserver) WriteAt(b []byte, offset int64) (int, error) {
	if r.fd >= 0 && len(b) >= shareBlocks*Size {
		if unix.Fallocate(r.fd, unix.FALLOC_FL_KEEP_SIZE, r.offset+offset, int64(len(b))) != nil {
			r.fd = -1 // writing reports the error if it applies to writes as well
		}
	}
	return r.WriterAt.WriteAt(b, offset)
}
