// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// Programs that copy files ask the kernel to share their blocks first: ioctl_ficlone(2). Where the file system cannot,
// dracut-install starts cp(1) for each file of an initramfs: a thousand times, four milliseconds each. So pid 1 copies
// the content in that case, and the program goes on as on a file system that can. What is not an ordinary copy is left
// to the kernel, which refuses it.

// maxClone is the size of the largest file that is copied: other programs of the container wait meanwhile.
const maxClone = 64 << 20

// addClone adds ioctl(2) with FICLONE, of native programs alone: to others the kernel answers.
func addClone(calls map[seccomp.Key]seccomp.Call, native uint32) {
	calls[seccomp.Key{Arch: native, Number: unix.SYS_IOCTL}] = seccomp.Call{Op: seccomp.OpClone, Arg: 1}
}

// clone makes a file that is empty a copy of another.
func (s *Supervisor) clone(q *notification) error {
	target, err := copyFD(q.PID, int(int32(q.Data.Args[0])))
	if err != nil {
		return errLeave
	}
	defer unix.Close(target)
	source, err := copyFD(q.PID, int(int32(q.Data.Args[2]&math.MaxUint32)))
	if err != nil {
		return errLeave
	}
	defer unix.Close(source)
	if !s.valid(q) {
		return errLeave // killed
	}
	if err := unix.IoctlFileClone(target, source); !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var from, to unix.Stat_t
	if unix.Fstat(source, &from) != nil || unix.Fstat(target, &to) != nil || !copies(&from, &to) {
		return unix.EOPNOTSUPP
	}
	var read, written int64 // the places of the descriptors do not change
	for read < from.Size {
		n, err := unix.CopyFileRange(source, &read, target, &written, int(from.Size-read), 0)
		if err != nil || n == 0 { // the program tries by itself, and learns why
			_ = unix.Ftruncate(target, 0)
			return unix.EOPNOTSUPP
		}
	}
	return nil
}

// copies reports whether the second file is as good as a clone of the first one when it has the same bytes. A clone
// would have its holes, too.
func copies(from, to *unix.Stat_t) bool {
	const block = 512 // of st_blocks
	return from.Mode&unix.S_IFMT == unix.S_IFREG && to.Mode&unix.S_IFMT == unix.S_IFREG &&
		from.Dev == to.Dev && to.Size == 0 && from.Size <= maxClone && from.Blocks*block >= from.Size
}
