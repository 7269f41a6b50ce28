// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// What holds the programs of a container, beside its namespaces: contrib/design/containment.md says against whom.

// keptCapabilities are all that programs get where no user namespace of their own makes the others harmless:
// those that podman gives by default (containers/common, pkg/config), and mknod. Device nodes are part of
// some images; nothing can be opened by one here, as all mounts of a container are nodev.
var keptCapabilities = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_NET_BIND_SERVICE,
	unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETUID, unix.CAP_SYS_CHROOT, unix.CAP_MKNOD,
}

// withheldCapabilities are those that programs do not get in a user namespace of their own either: with them
// they could take over pid 1, which is in there, too, or undo its mounts. Mounts of their own they get by
// asking, see package supervise.
var withheldCapabilities = []int{
	unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO,
	unix.CAP_SYS_BOOT,
	unix.CAP_SYS_TIME, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYSLOG,
}

// confine takes from this thread, and so from what it starts, what programs of a container must not have. The
// thread must be locked.
func confine(spec *specs.Spec) error {
	if err := process.LeaveKeyring(); err != nil {
		return err
	}
	if !isolated(spec) {
		// For filters and Landlock a caller without CAP_SYS_ADMIN has to. Root's programs need no setuid bits.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("give up new privileges: %w", err)
		}
	}
	if err := scope(); err != nil {
		return err
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		keep := slices.Contains(keptCapabilities, c)
		if nested(spec) {
			keep = !slices.Contains(withheldCapabilities, c)
		}
		if keep {
			continue
		}
		// EPERM: a root without CAP_SETPCAP, who has little else. EINVAL: an older kernel, which does not
		// know the capability.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) &&
			!errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("withhold capability %d: %w", c, err)
		}
	}
	if err := process.DropAmbient(); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return nil
}

// scope keeps programs from abstract sockets and processes that are not the container's: the network's
// namespace is the host's, and abstract sockets are a part of that. Landlock, see landlock(7), can since
// Linux 6.12; on an older kernel this is left out.
func scope() error {
	attributes := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET |
		unix.LANDLOCK_SCOPE_SIGNAL}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attributes)),
		unsafe.Sizeof(attributes), 0)
	switch errno {
	case 0:
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.E2BIG, unix.EINVAL, unix.EPERM:
		return nil // too old a kernel, switched off, or the outer container's filter forbids it
	default:
		return fmt.Errorf("make a Landlock ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	runtime.KeepAlive(&attributes)
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("restrict programs by Landlock: %w", errno)
	}
	return nil
}
