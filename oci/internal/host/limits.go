// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// leastAddressSpace is what RLIMIT_AS has to allow: the runtime of Go reserves some hundred MiB in each of the
	// processes of a build, and mksquashfs and xz more.
	leastAddressSpace = 2_000_000_000
	// leastProcesses is what RLIMIT_NPROC has to allow, threads counted: each process of this program has some ten.
	leastProcesses = 32
)

// checkLimits refuses resource limits with which the runtime of Go would end a process of the build by a trace
// of its stacks. uid is the caller's, getrlimit that of Linux for the calling process.
func checkLimits(uid int, getrlimit func(resource int) (unix.Rlimit, error)) error {
	const MB = 1_000_000
	addresses, err := getrlimit(unix.RLIMIT_AS)
	if err != nil {
		return fmt.Errorf("read the limit of this process's addresses: %w", err)
	}
	processes, err := getrlimit(unix.RLIMIT_NPROC)
	if err != nil {
		return fmt.Errorf("read the limit of this user's processes: %w", err)
	}
	switch {
	case addresses.Cur < leastAddressSpace:
		return &Error{Cause: fmt.Sprintf("processes here may have %d MB of addresses, and a build needs %d MB",
			addresses.Cur/MB, leastAddressSpace/MB), Fix: "raise the limit: ulimit -v unlimited"}
	case processes.Cur < leastProcesses && uid != 0: // root is above this limit
		return &Error{Cause: fmt.Sprintf("users here may have %d processes, and a build needs %d", processes.Cur,
			leastProcesses), Fix: "raise the limit: ulimit -u 1000"}
	}
	return nil
}

// processLimit is getrlimit(2) for this process.
func processLimit(resource int) (unix.Rlimit, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(resource, &limit)
	return limit, err
}
