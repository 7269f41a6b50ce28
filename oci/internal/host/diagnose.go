// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Error says what this host lacks for making containers.
type Error struct {
	// Cause is one sentence without a full stop that says what is missing.
	Cause string
	// Fix is what its owner can do about it, in one sentence.
	Fix string
	// Err is what the attempt gave; nil if there was none.
	Err error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Cause
	}
	return fmt.Sprintf("%s (%v)", e.Cause, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes every HostError an errors.ErrUnsupported.
func (e *Error) Is(target error) bool { return target == errors.ErrUnsupported }

// Attempt names what was tried when the host refused.
type Attempt string

// The attempts, in the order in which they are made.
const (
	TryClone     Attempt = "clone"     // making the namespaces
	tryIDMap     Attempt = "idmap"     // newuidmap or newgidmap
	tryBecome    Attempt = "become"    // becoming uid 0 of the namespace
	tryMount     Attempt = "mount"     // making the mounts private
	tryStartSelf Attempt = "startself" // running this program again
	tryMapMounts Attempt = "mapmounts" // showing a root's files with other ids, see ownids.go
	TryListener  Attempt = "listener"  // answering system calls where nobody else does
	TryBinfmt    Attempt = "binfmt"    // a table of emulators in a user namespace inside

	// Of the isolation chroot, see tryChroot.
	tryState     Attempt = "state"     // writing to the state directory
	tryOwners    Attempt = "owners"    // giving files away, with all their bits
	tryDevices   Attempt = "devices"   // mknod
	tryDeviceUse Attempt = "deviceuse" // opening what it made
	tryMove      Attempt = "move"      // renaming a directory
	tryRoot      Attempt = "root"      // chroot
	trySupervise Attempt = "supervise" // answering system calls, see package supervise
)

// Facts are what helps to say why an attempt failed. They are looked up only after it did.
type Facts struct {
	root       bool   // the caller is uid 0
	user       string // name or number of the caller
	executable string
	// appArmorRestricts: kernel.apparmor_restrict_unprivileged_userns is 1, as on Ubuntu since 23.10.
	appArmorRestricts bool
	// cloneForbidden: kernel.unprivileged_userns_clone is 0, a switch of Debian's kernels.
	cloneForbidden bool
	// noneAllowed: user.max_user_namespaces is 0.
	noneAllowed bool
	// noNewPrivs: setuid programs have no effect for the caller (no_new_privs of prctl(2)).
	noNewPrivs bool
}

// procSys is where the kernel's settings are.
var procSys = os.DirFS("/proc/sys")

// GatherFacts returns what this host says of itself, for the user of that name.
func GatherFacts(user string) Facts { return factsFrom(procSys, user) }

// factsFrom is gatherFacts with the kernel's settings from elsewhere.
func factsFrom(settings fs.FS, user string) Facts {
	sysctl := func(name, value string) bool {
		text, err := fs.ReadFile(settings, name)
		return err == nil && strings.TrimSpace(string(text)) == value
	}
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		executable = "/usr/bin/vmdebootstrap"
	}
	noNewPrivs, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return Facts{
		root: unix.Getuid() == 0, user: user, executable: executable,
		appArmorRestricts: sysctl("kernel/apparmor_restrict_unprivileged_userns", "1"),
		cloneForbidden:    sysctl("kernel/unprivileged_userns_clone", "0"),
		noneAllowed:       sysctl("user/max_user_namespaces", "0"),
		noNewPrivs:        err == nil && noNewPrivs == 1,
	}
}

const (
	fixContainer = "start the outer container with --privileged, or run this on a machine of its own"
	fixMaxUserNS = "as root, run: sysctl -w user.max_user_namespaces=15000"
)

// Diagnose turns a failed attempt into a sentence and a cure.
func Diagnose(try Attempt, err error, f Facts) *Error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	if inPlace := diagnoseInPlace(try, err); inPlace != nil {
		return inPlace
	}
	switch {
	case try == TryBinfmt && errors.Is(err, unix.ENODEV):
		return &Error{"this kernel runs no programs of other processors (binfmt_misc is missing)",
			"as root, run: modprobe binfmt_misc", err}
	case try == TryBinfmt:
		return &Error{
			"this kernel has no emulators for one user alone, as Linux has since 6.7, and none for the whole machine is installed",
			"as root, run: apt install qemu-user-static; or use a newer kernel", err,
		}
	case try == TryListener:
		return &Error{
			"the outer container answers system calls of its programs, and there can be but one who does (seccomp)",
			"switch that off for the outer container (LXD: the options security.syscalls.intercept.*), or run outside of it", err,
		}
	case try == tryMapMounts:
		return &Error{
			"root's files cannot be shown with a range of ids of its own",
			"use the isolation root or auto; or Linux 5.19, and ext4, xfs, btrfs or the like for /, the working and the state directory", err,
		}
	case f.root && denied:
		return &Error{"this root may not mount (CAP_SYS_ADMIN is missing, as in most containers)", fixContainer, err}
	case try == TryClone && errors.Is(err, unix.ENOSPC):
		cause := "the limit of user namespaces is reached (user.max_user_namespaces)"
		if f.noneAllowed {
			cause = "user namespaces are switched off (user.max_user_namespaces is 0)"
		}
		return &Error{cause, fixMaxUserNS, err}
	case try == TryClone && f.cloneForbidden:
		return &Error{
			"user namespaces are for root only (kernel.unprivileged_userns_clone is 0)",
			"as root, run: sysctl -w kernel.unprivileged_userns_clone=1", err,
		}
	case (try == tryMount || try == tryBecome || try == TryClone) && denied && f.appArmorRestricts:
		return &Error{
			"AppArmor takes all rights from user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
			"as root, run: " + loadProfile(f.executable), err,
		}
	case try == TryClone && denied:
		return &Error{"the host forbids user namespaces, as most containers do", fixContainer, err}
	case try == TryClone && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)):
		return &Error{"this kernel has no user namespaces", "use a kernel with CONFIG_USER_NS, or run as root", err}
	case try == tryIDMap && errors.Is(err, exec.ErrNotFound):
		return &Error{"newuidmap and newgidmap are not installed", "as root, run: apt install uidmap", err}
	case try == tryIDMap && f.noNewPrivs:
		return &Error{
			"newuidmap has no effect, as setuid programs are switched off for this session (no_new_privs)",
			"run from an ordinary login session, or as root", err,
		}
	case try == tryIDMap:
		return &Error{
			fmt.Sprintf("the subordinate ids of %s could not be mapped", f.user),
			"as root, run: apt install --reinstall uidmap, and see that /etc/subuid and /etc/subgid give the user ranges of its own", err,
		}
	default:
		return &Error{fmt.Sprintf("no container can be made here (%s)", try), "run as root, or on another machine", err}
	}
}

// diagnoseInPlace is diagnose for the isolation chroot, nil for other attempts.
func diagnoseInPlace(try Attempt, err error) *Error {
	const otherState = "name a directory on another file system with --state-dir, a volume of the container for example"
	switch try {
	case tryState:
		return &Error{"the state directory cannot be written to", "name another one with --state-dir", err}
	case tryOwners:
		return &Error{
			"files cannot be given their owners, setuid bits and capabilities here",
			"let the outer container have Docker's default capabilities, and the state directory (--state-dir) on a file system of Linux", err,
		}
	case tryDevices:
		return &Error{
			"device nodes cannot be made here (CAP_MKNOD is missing, or this root is one of a user namespace)",
			"let the outer container have CAP_MKNOD; one of rootless podman or docker must allow user namespaces and mounts instead (--security-opt seccomp=unconfined)", err,
		}
	case tryDeviceUse:
		return &Error{"device nodes in the state directory do not work (its file system is mounted with nodev)",
			otherState, err}
	case tryMove:
		return &Error{"directories in the state directory cannot be renamed", otherState, err}
	case trySupervise:
		return &Error{
			"programs without a /proc cannot be helped here (Linux 5.19 and its seccomp(2) are needed)",
			"use a newer kernel, or let the outer container mount: start it with --privileged", err,
		}
	case tryRoot:
		return &Error{"chroot is not allowed (CAP_SYS_CHROOT is missing)",
			"let the outer container have CAP_SYS_CHROOT, as it has by default", err}
	default:
		return nil
	}
}

// noRange says that a user has too few subordinate ids; have counts those found in file.
func noRange(user, file string, have uint64) *Error {
	cause := fmt.Sprintf("the user %s has no subordinate ids in %s", user, file)
	if have > 0 {
		cause = fmt.Sprintf("the user %s has only %d subordinate ids in %s, and Debian needs %d", user, have, file,
			minSubIDs)
	}
	return &Error{
		Cause: cause,
		Fix:   fmt.Sprintf("as root, run: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", user),
	}
}
