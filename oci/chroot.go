package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// The isolation chroot makes the same image where neither namespaces nor mounts can be had: as root of a container with
// the rights that Docker, GitLab's and Kubernetes' runners give by default. A program gets the container's root file
// system by chroot(2) alone. What would be mounted is put in its place for the time of the run, see place; the store
// copies layers, which is its driver "vfs". What is different for the programs:
//
//   - /proc and /sys are empty directories, and so is /dev/pts; names in /proc work nevertheless, see package supervise;
//   - the host's name, processes and network are seen;
//   - a directory that is lent to a hook is a copy, and what the hook changed there is brought back at its end, unless
//     the copy itself is gone then.

// runInPlace runs a program as spec says, without its mounts and namespaces.
func (c *Container) runInPlace(ctx context.Context, spec *specs.Spec, stdin io.Reader, out io.Writer) (err error) {
	if spec.Annotations[annotationInterpreter] != "" {
		return &HostError{
			Cause: "programs of another processor need an emulator, and the isolation chroot cannot register one",
			Cure:  "on the machine around this container, as root, run: apt install qemu-user-static (its emulators have the flag F); or build on such a machine",
		}
	}
	p := &placer{root: c.root, stash: filepath.Join(c.engine.session.dir, "covered"), movable: c.engine.movable, keep: c.engine.options.StateDir}
	defer func() { err = errors.Join(err, p.undo()) }()
	for _, m := range spec.Mounts {
		if err := p.place(m); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.Source, m.Destination, err)
		}
	}
	in := *spec
	in.Mounts, in.Hostname = nil, ""
	in.Linux = &specs.Linux{}
	in.Annotations = map[string]string{annotationProcProxy: "true"}
	_, err = runSpec(ctx, &in, stdin, out)
	// The helper has killed what the program left. If it was itself killed, this finds what it can.
	process.KillRooted(c.root)
	return err
}

// movable reports whether a directory can be where a container wants it for a while: the root file system of another
// container of this engine, and what this session has for itself.
func (e *Engine) movable(dir string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if dirfd.Within(dir, c.root) {
			return true
		}
	}
	return dirfd.Within(dir, e.TempDir())
}

// tryChroot does in a directory below dir what the isolation chroot does with a root file system. It says what went wrong.
func tryChroot(dir string) (try attempt, text string, err error) {
	if dir != "" {
		dir = existing(dir) // the state directory is made when it is needed
	}
	if dir, err = os.MkdirTemp(dir, ".vmdebootstrap-try-"); err != nil {
		return tryState, "make a directory", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it may not be ours to remove what root may not
	file, null, moved := filepath.Join(dir, "file"), filepath.Join(dir, "null"), filepath.Join(dir, "moved")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return tryState, "write a file", err
	}
	for _, step := range []struct {
		try  attempt
		text string
		do   func() error
	}{
		{tryOwners, "give a file to somebody else", func() error { return os.Chown(file, 1, 1) }},
		{tryOwners, "make somebody else's program setuid and setgid", func() error { return setuidFile(file) }},
		{tryOwners, "give a program capabilities", func() error { return unix.Setxattr(file, "security.capability", noCapability(), 0) }},
		{tryDevices, "make a device node", func() error { return unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }},
		{tryDeviceUse, "open a device node", func() error { return os.WriteFile(null, []byte{0}, 0) }},
		{tryMove, "rename a directory", func() error { return errors.Join(os.Mkdir(moved, 0o755), os.Rename(moved, moved+"-again")) }},
		{tryRoot, "change the root directory", func() error { return rootAndBack(dir) }},
		{trySupervise, "answer for programs", canSupervise},
	} {
		if err := step.do(); err != nil {
			return step.try, step.text, err
		}
	}
	return "", "", nil
}

// setuidFile sets the bits, which the kernel drops without an error if it does not like them.
func setuidFile(name string) error {
	if err := os.Chmod(name, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		return err
	}
	info, err := os.Lstat(name)
	if err == nil && info.Mode()&os.ModeSetgid == 0 {
		err = unix.EPERM
	}
	return err
}

// noCapability is the extended attribute of a program without any: struct vfs_cap_data of linux/capability.h, revision 2.
func noCapability() []byte {
	const revision2, size = 0x02000000, 20
	attribute := make([]byte, size)
	binary.LittleEndian.PutUint32(attribute, revision2)
	return attribute
}

// canSupervise finds out whether this process could do what supervise does.
func canSupervise() error {
	// Without a filter to read, the call fails with EFAULT where its flags are known.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if errno != unix.EFAULT {
		return errno
	}
	word := []byte{1}
	return supervise.ReadMemory(uint32(os.Getpid()), uint64(uintptr(unsafe.Pointer(&word[0]))), make([]byte, 1))
}

// rootAndBack changes the root directory of this process, which has one thread that matters, for a moment.
func rootAndBack(dir string) error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(cwd)
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Fchdir(cwd)
}
