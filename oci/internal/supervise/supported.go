// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported finds out whether this process could do what supervise does.
func Supported() error {
	// Without a filter to read, the call fails with EFAULT where its flags are known.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if errno != unix.EFAULT {
		return errno
	}
	word := []byte{1}
	return ReadMemory(uint32(os.Getpid()), uint64(uintptr(unsafe.Pointer(&word[0]))), make([]byte, 1))
}
