// SPDX-License-Identifier: Apache-2.0

// Package process holds what the helpers of package oci have in common: processes of this very program,
// started again under another name, which Init tells by argument 0. It has their names, the numbers of the
// files that they inherit, how they hide from other processes of their user, how they end when their parent
// is gone, and how all that they have started is ended where no pid namespace does it.
//
// Nothing in it knows what a helper is for.
package process

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// EarlyVariables are those that libraries look at before main begins.
func EarlyVariables(env []string) []string {
	var early []string
	for _, kv := range env {
		if strings.HasPrefix(kv, "HOME=") {
			early = append(early, kv)
		}
	}
	return early
}

// SetEnvironment makes env the environment of this process, in its memory alone.
func SetEnvironment(env []string) {
	os.Clearenv()
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			_ = os.Setenv(name, value) // fails for names that no variable can have
		}
	}
}

// Hide keeps the memory, the files and the environment of this process from all others of its user: they are
// root's then. A new program loses it, so that each helper of ours does it anew.
func Hide() {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		panic(fmt.Sprintf("BUG: hide the process: %v", err)) // any process may
	}
}

// KeepFiles has no program that this process starts inherit a file that it is not given.
func KeepFiles() {
	// Linux 5.11 is enough. A filter of an outer container that does not know the call says ENOSYS or EPERM;
	// Go's own files are not inherited anyway.
	_ = unix.CloseRange(FdLifeline, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// LeaveKeyring gives this thread, and what it becomes or starts, an empty session keyring in place of the caller's.
func LeaveKeyring() error {
	// Without a name it is a new one.
	switch _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno {
	case 0, unix.ENOSYS, unix.EPERM, unix.EACCES:
		return nil // or the kernel has no keys, or the outer container's filter forbids all that is about them
	default:
		return fmt.Errorf("leave the session keyring: %w", errno)
	}
}

// Names by which this program knows, in its argument 0, that it was started as a helper of its own.
const (
	NameEnter     = "vmdebootstrap-enter"     // becomes uid 0 of the new namespaces, then the program again
	NameContainer = "vmdebootstrap-container" // is pid 1 of a container
	NameProbe     = "vmdebootstrap-probe"     // tells how it looks where containers can be made
	NameImage     = "vmdebootstrap-image"     // works on an image of a registry or another store
)

// Files that a helper inherits.
const (
	// FdLifeline is a pipe that nobody writes to any more after the start: its end means that the parent is
	// dead. That holds where the death signal of prctl(2) does not: it is lost when a process changes its
	// credentials, and between fork and the call that sets it.
	FdLifeline = 3
	// FdReport is a pipe to which a helper writes what went wrong.
	FdReport = 4
	// FdHandover is what the first run tells the second, see package host.
	FdHandover = 5
	// FdMounts is the first of the copies of the host's mounts that a root with ids of its own has, see package host.
	FdMounts = 6
)

// StatusKilled is the exit status of a helper whose parent has died: what a shell says of a killed process.
const StatusKilled = 128 + int(unix.SIGKILL)

// Lifeline is FdLifeline. It is kept here: a file that nobody can reach any more is closed by the garbage collector,
// and the program that this process becomes would not have it, but what the runtime of Go opens in its place.
var Lifeline = sync.OnceValue(func() *os.File { return os.NewFile(FdLifeline, "lifeline") })

// WatchLifeline ends the process when its parent is gone. As pid 1 of its namespace it takes everything with it.
func WatchLifeline(r io.Reader) {
	_, _ = io.Copy(io.Discard, r) // whatever ends it
	Exit(StatusKilled)
}

// Exit ends a helper.
func Exit(status int) {
	os.Exit(status) //nolint:forbidigo // a helper is a process of its own: its status is its answer
}

// PIDInProc returns the number that the process of a pidfd has in the /proc that is mounted here.
func PIDInProc(pidfd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(number))
			if err == nil && pid <= 0 {
				err = unix.ESRCH
			}
			return pid, err
		}
	}
	return 0, unix.ESRCH
}

// DropAmbient clears the ambient and inheritable capabilities, which would come down to every program we start.
func DropAmbient() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return unix.Capset(&header, &data[0])
}

// AllCapabilities are those that the kernels know that this program runs on.
func AllCapabilities() []uintptr {
	all := make([]uintptr, unix.CAP_LAST_CAP+1)
	for c := range all {
		all[c] = uintptr(c)
	}
	return all
}
