// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"encoding/binary"
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// A directory's entries carry its place in the directory, which ext4 makes a hash of 63 bits for 64-bit
// programs. An emulator is one, and hands them on to a program that keeps 32 bits. The C library of such a
// program then ends the directory with EOVERFLOW, or just ends it: an initramfs was made so with hardly a
// driver in it, and no word (glibc bug 23960; Debian's dracut-install on armhf, by fts(3)).
//
// So while a 32-bit kind of programs is emulated, pid 1 reads directories for the container: it makes the
// call on a copy of the descriptor, which shares the position, and hands on the entries with places of 31
// bits. Only seekdir(3) would go wrong with these, for a program that can hold the long ones. What cannot be
// done so is left to the kernel.

// Where things are in a struct linux_dirent64, see getdents(2).
const (
	DirentOffset = 8  // d_off, 8 bytes
	DirentLength = 16 // d_reclen, 2 bytes
	DirentHeader = 18
)

// getdents makes the call for a thread, and returns what it returns.
func (s *Supervisor) getdents(q *notification) (int64, error) {
	fd, err := copyFD(q.PID, int(int32(q.Data.Args[0])))
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(fd)
	count := min(uint64(len(s.buf)), q.Data.Args[2]&math.MaxUint32)
	if count == 0 {
		return 0, errLeave
	}
	n, err := unix.Getdents(fd, s.buf[:count])
	if err != nil || n == 0 {
		return 0, err
	}
	shortenOffsets(s.buf[:n])
	if err := writeMemory(q.PID, q.Data.Args[1], s.buf[:n]); err != nil {
		return 0, err
	}
	return int64(n), nil
}

// copyFD returns a copy of a thread's descriptor, which shares the position.
func copyFD(pid uint32, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(int(pid), unix.PIDFD_THREAD)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9 only the first thread of a process can be named
		pidfd, err = unix.PidfdOpen(int(pid), 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, fd, 0)
}

// shortenOffsets makes the places in directory entries fit into 31 bits. Of a hash of ext4 the upper half remains, so
// that they stay in order.
func shortenOffsets(entries []byte) {
	for len(entries) >= DirentHeader {
		place := entries[DirentOffset:]
		if offset := binary.NativeEndian.Uint64(place); offset > math.MaxInt32 {
			binary.NativeEndian.PutUint64(place, offset>>32)
		}
		entries = entries[binary.NativeEndian.Uint16(entries[DirentLength:]):]
	}
}
