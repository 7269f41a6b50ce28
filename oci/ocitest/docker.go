// SPDX-License-Identifier: Apache-2.0

// Package ocitest reproduces environments in which builds run, for tests: root in a container with
// the privileges that Docker grants by default, and with those of Kubernetes. It also starts a
// container registry.
//
// Only the privileges of a process are reproduced: files are those of the host. A test binary that
// uses it calls Init first in its TestMain, because it is started again to become such a process.
package ocitest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Values of argv[0] for a process that becomes one of a container.
const (
	nameDocker     = "ocitest-docker"
	nameUnconfined = "ocitest-unconfined"
)

// Init turns this process into one of a container if it was started for that. It reports whether
// that was tried and did not work: the program then exits.
func Init() bool {
	if len(os.Args) < 2 || os.Args[0] != nameDocker && os.Args[0] != nameUnconfined {
		return false
	}
	fmt.Fprintln(os.Stderr, "ocitest:", becomeDocker(os.Args[1:], os.Args[0] == nameDocker))
	os.Exit(125) // Docker's exit status for its own errors
	return true
}

// Docker returns a command that runs the program at path as root of a container with Docker's
// default privileges: 14 capabilities, and a seccomp filter that blocks new namespaces and mounts.
// It has pid, mount, uts and ipc namespaces of its own. The caller must be root, with all
// capabilities.
func Docker(path string, args ...string) *exec.Cmd { return contained(nameDocker, path, args) }

// Unconfined is Docker without the filter, as in Kubernetes containers without a seccomp profile:
// user namespaces can be created.
func Unconfined(path string, args ...string) *exec.Cmd { return contained(nameUnconfined, path, args) }

func contained(how, path string, args []string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{how, path}, args...),
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC, Pdeathsig: unix.SIGKILL},
	}
}

// dockerCapabilities are the capabilities of a container, from moby's profiles/seccomp and
// daemon/pkg/oci/caps/defaults.go.
var dockerCapabilities = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW,
	unix.CAP_SETGID,
	unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL,
	unix.CAP_AUDIT_WRITE,
}

// becomeDocker executes a program with the privileges of a container. It returns only on an error.
func becomeDocker(args []string, filter bool) error {
	runtime.LockOSThread() // capabilities and filters belong to a thread, and exec continues with this one
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Docker's /sys is read-only, and so is much of its /proc.
	for _, dir := range []string{"/sys", "/proc/sys", "/proc/bus", "/proc/irq"} {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
		if err := unix.Mount("", dir, "",
			unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", dir, err)
		}
	}
	// Done before dropping CAP_SYS_ADMIN: a filter needs it without no_new_privs, which Docker does not set.
	if filter {
		if err := installFilter(); err != nil {
			return fmt.Errorf("install the filter: %w", err)
		}
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return fmt.Errorf("start %s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
}

// dropCapabilities drops all capabilities but dockerCapabilities.
func dropCapabilities() error {
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(dockerCapabilities, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err // EINVAL: unknown to an older kernel
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range dockerCapabilities {
		data[c/32].Permitted |= 1 << (c % 32)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	return unix.Capset(&header, &data[0])
}

// dockerDenied lists system calls that Docker's default filter denies to a container without
// CAP_SYS_ADMIN and similar capabilities, from its documentation, "Seccomp security profiles for
// Docker", and the newer calls for mounts.
var dockerDenied = []uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
	unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT,
	unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
	unix.SYS_GET_MEMPOLICY, unix.SYS_INIT_MODULE,
	unix.SYS_KCMP, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MBIND, unix.SYS_MOUNT,
	unix.SYS_MOUNT_SETATTR,
	unix.SYS_MOVE_MOUNT, unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_OPEN_TREE,
	unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_PIVOT_ROOT, unix.SYS_QUOTACTL, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETNS,
	unix.SYS_SETTIMEOFDAY, unix.SYS_SET_MEMPOLICY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
	unix.SYS_UNSHARE,
	unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
}

// newNamespaces are the flags that clone may not be called with.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// Offsets in struct seccomp_data.
const (
	dataNr    = 0
	dataFlags = 16 // the lower half of the first argument, on a little-endian machine
)

// installFilter installs the filter for the rest of the process's life. It does not check calls of
// another architecture: the tests' programs make none.
func installFilter() error {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	verdict := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	deny := func(errno unix.Errno) unix.SockFilter { return verdict(unix.SECCOMP_RET_ERRNO | uint32(errno)) }
	unless := func(test uint16, value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: value, Jf: skip}
	}
	filter := []unix.SockFilter{load(dataNr)}
	for _, nr := range dockerDenied {
		filter = append(filter, unless(unix.BPF_JEQ, nr, 1), deny(unix.EPERM))
	}
	filter = append(filter,
		// Programs fall back to clone, whose flags a filter can see.
		unless(unix.BPF_JEQ, unix.SYS_CLONE3, 1), deny(unix.ENOSYS),
		unless(unix.BPF_JEQ, unix.SYS_CLONE, 3), load(dataFlags), unless(unix.BPF_JSET, newNamespaces, 1),
		deny(unix.EPERM),
		verdict(unix.SECCOMP_RET_ALLOW),
	)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// TSYNC: all threads of the Go runtime get the filter.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
