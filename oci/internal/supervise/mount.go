// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// Programs of a container may not mount (CAP_SYS_ADMIN): who may could undo what pid 1 has hidden or made
// read-only. But debootstrap mounts /proc in the target, and hooks bind directories. So pid 1 mounts for
// them, see supervise.go, what takes nothing away: a proc or sysfs is a copy of the container's own, with all
// that is mounted on it, and only what a program has asked for can be unmounted. A program in a mount
// namespace of its own, which then is in a user namespace of its own as well, is left to the kernel.

// mountCalls are the calls that pid 1 makes for programs.
var mountCalls = []seccomp.Numbered{
	{Number: unix.SYS_MOUNT, Call: seccomp.ByPath(seccomp.OpMount, 0)},
	{Number: unix.SYS_UMOUNT2, Call: seccomp.ByPath(seccomp.OpUmount, 1)},
}

// addMounts adds the calls to those that are asked about.
func addMounts(calls map[seccomp.Key]seccomp.Call, native uint32) {
	for _, c := range mountCalls {
		calls[seccomp.Key{Arch: native, Number: c.Number}] = c.Call
	}
	for _, c := range seccomp.CompatMounts {
		calls[seccomp.Key{Arch: seccomp.CompatArch, Number: c.Number}] = c.Call
	}
}

// Flags of mount(2) that say what it does, and those that say how what is mounted propagates: everything here
// is private.
const (
	propagation = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE
	ignored     = unix.MS_SILENT | unix.MS_REC | unix.MS_MGC_MSK
)

// mayMount returns nil to a program that may do in this container what root does, and is in the container's mounts.
func (s *Supervisor) mayMount(q *notification) error {
	pid, err := s.numberInProc(q.PID)
	if err != nil {
		return unix.EPERM
	}
	dir := dirfd.ProcPath(s.proc) + "/" + pid
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return unix.EPERM
	}
	if theirs, err := os.Readlink(dir + "/ns/mnt"); err != nil || theirs != ours {
		return errLeave // the kernel knows what it may
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil || !s.valid(q) {
		return unix.EPERM
	}
	for line := range strings.Lines(string(status)) {
		text, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		if set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64); err == nil &&
			set&(1<<unix.CAP_SYS_CHROOT) != 0 {
			return nil
		}
	}
	return unix.EPERM
}

// mount is mount(2).
func (s *Supervisor) mount(q *notification) error {
	if err := s.mayMount(q); err != nil {
		return err
	}
	flags := uintptr(q.Data.Args[3])
	target, err := s.open(q, seccomp.Call{Dir: seccomp.NoArg, Path: 1, Flags: seccomp.NoArg})
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(target)
	switch {
	case flags&unix.MS_REMOUNT != 0:
		return remount(target, flags)
	case flags&unix.MS_MOVE != 0:
		return unix.EPERM
	case flags&unix.MS_BIND != 0:
		return s.mountCopy(q, target)
	case flags&propagation != 0 && flags&^(propagation|ignored) == 0:
		return nil
	}
	fstype, err := readString(q.PID, q.Data.Args[2])
	if err != nil {
		return unix.EFAULT
	}
	switch fstype {
	case "proc":
		return s.attach(s.proc, target)
	case "sysfs":
		return s.attach(s.sys, target)
	case "tmpfs":
		flags |= unix.MS_NODEV
	case "devpts":
		flags |= unix.MS_NOSUID | unix.MS_NOEXEC
	case "overlay":
		if !s.nested || !s.ownRoot(q) {
			return unix.EPERM // where the names of its options would mean something else, or more
		}
	default:
		return unix.EPERM
	}
	source, err := optionalString(q.PID, q.Data.Args[0])
	if err != nil {
		return unix.EFAULT
	}
	data, err := optionalString(q.PID, q.Data.Args[4])
	if err != nil {
		return unix.EFAULT
	}
	if !s.valid(q) {
		return unix.EINTR // killed
	}
	at := dirfd.ProcPath(target)
	if err := unix.Mount(source, at, fstype, flags, data); err != nil {
		return errnoOf(err)
	}
	// Names of descriptors lead to what was there before.
	name, err := os.Readlink(at)
	if err != nil {
		return errnoOf(err)
	}
	return s.remember(unix.AT_FDCWD, name)
}

// optionalString reads a string that need not be there.
func optionalString(pid uint32, address uint64) (string, error) {
	if address == 0 {
		return "", nil
	}
	return readString(pid, address)
}

// ownRoot reports whether the caller has the container's root directory.
func (s *Supervisor) ownRoot(q *notification) bool {
	root, err := s.openProc(q.PID, "root")
	if err != nil {
		return false
	}
	defer unix.Close(root)
	var theirs, ours unix.Statx_t
	const mask = unix.STATX_INO | unix.STATX_MNT_ID
	err = errors.Join(unix.Statx(root, "", unix.AT_EMPTY_PATH, mask, &theirs),
		unix.Statx(unix.AT_FDCWD, "/", 0, mask, &ours))
	return err == nil && theirs.Ino == ours.Ino && theirs.Mnt_id == ours.Mnt_id
}

// mountCopy is a bind mount, always with all that is mounted below: without, it would show what that hides.
func (s *Supervisor) mountCopy(q *notification, target int) error {
	source, err := s.open(q, seccomp.Call{Dir: seccomp.NoArg, Path: 0, Flags: seccomp.NoArg})
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(source)
	if !s.valid(q) {
		return unix.EINTR // killed
	}
	return s.attach(source, target)
}

// attach mounts a copy of what is at source, with all mounts below, at target. Nothing of it can be unmounted alone.
func (s *Supervisor) attach(source, target int) error {
	tree, err := unix.OpenTree(source, "",
		unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return errnoOf(err)
	}
	return s.remember(tree, "")
}

// remember notes that a program has asked for a mount.
func (s *Supervisor) remember(dir int, name string) error {
	id, err := mounts.IDAt(dir, name)
	if err != nil {
		return errnoOf(err)
	}
	s.mounts = append(s.mounts, id)
	return nil
}

// remount makes a mount more restricted, never less.
func remount(target int, flags uintptr) error {
	var attributes uint64
	for _, f := range mounts.OptionFlags {
		if flags&f.Flag != 0 {
			attributes |= f.Attribute
		}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(target, &st); err != nil {
		return errnoOf(err)
	}
	if flags&unix.MS_RDONLY == 0 && st.Flags&unix.ST_RDONLY != 0 {
		return unix.EPERM
	}
	err := unix.MountSetattr(target, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: attributes})
	if err != nil {
		return errnoOf(err)
	}
	return nil
}

// umount is umount2(2). What is busy goes when nobody uses it any more.
func (s *Supervisor) umount(q *notification, c seccomp.Call) error {
	if err := s.mayMount(q); err != nil {
		return err
	}
	nofollow := c.Arg != seccomp.NoArg && q.Data.Args[c.Arg]&unix.UMOUNT_NOFOLLOW != 0
	target, err := s.open(q, seccomp.Call{Dir: seccomp.NoArg, Path: 0, Flags: seccomp.NoArg, Nofollow: nofollow})
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(target)
	var st unix.Statx_t
	if err := unix.Statx(target, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return errnoOf(err)
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return unix.EINVAL
	}
	if !s.valid(q) {
		return unix.EINTR // killed
	}
	if !slices.Contains(s.mounts, st.Mnt_id) {
		return s.umountPart(st.Mnt_id)
	}
	if err := unix.Unmount(dirfd.ProcPath(target), unix.MNT_DETACH); err != nil {
		return errnoOf(err)
	}
	s.mounts = slices.DeleteFunc(s.mounts, func(id uint64) bool { return id == st.Mnt_id })
	return nil
}

// umountPart answers for what is mounted in a copy, and goes with that: whoever unmounts a tree begins there.
func (s *Supervisor) umountPart(id uint64) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return errnoOf(err)
	}
	parents := map[uint64]uint64{}
	for line := range strings.Lines(string(table)) {
		var child, parent uint64
		if _, err := fmt.Sscan(line, &child, &parent); err == nil {
			parents[child] = parent
		}
	}
	for range parents { // no mount is deeper
		if id = parents[id]; slices.Contains(s.mounts, id) {
			return nil
		}
	}
	return unix.EPERM
}

// numberInProc is the number of a process in the /proc that pid 1 sees, which is another container's where a
// new one cannot be mounted.
func (s *Supervisor) numberInProc(pid uint32) (string, error) {
	if !s.foreign {
		return strconv.FormatUint(uint64(pid), 10), nil
	}
	const pidfdThread = unix.O_EXCL // PIDFD_THREAD, since Linux 6.9
	fd, err := unix.PidfdOpen(int(pid), 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		fd, err = unix.PidfdOpen(int(pid), pidfdThread)
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	n, err := process.PIDInProc(fd)
	return strconv.Itoa(n), err
}
