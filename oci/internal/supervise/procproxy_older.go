// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || ppc64le || s390x

package supervise

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// olderProcCalls are those that newer machines do without.
var olderProcCalls = map[int32]shape{
	unix.SYS_OPEN:     opening(0),
	unix.SYS_STAT:     filling(0, 1, int(unsafe.Sizeof(unix.Stat_t{}))),
	unix.SYS_LSTAT:    ofLink(filling(0, 1, int(unsafe.Sizeof(unix.Stat_t{})))),
	unix.SYS_READLINK: linking(0, 1),
	unix.SYS_ACCESS:   named(0),
	unix.SYS_CHMOD:    named(0),
	unix.SYS_CHOWN:    named(0),
}
