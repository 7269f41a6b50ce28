// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// tryChroot does in a directory below dir what the isolation chroot does with a root file system. It says
// what went wrong.
func tryChroot(dir string) (try Attempt, text string, err error) {
	if dir != "" {
		dir = ExistingDir(dir) // the state directory is made when it is needed
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
		try  Attempt
		text string
		do   func() error
	}{
		{tryOwners, "give a file to somebody else", func() error { return os.Chown(file, 1, 1) }},
		{tryOwners, "make somebody else's program setuid and setgid", func() error { return setuidFile(file) }},
		{tryOwners, "give a program capabilities",
			func() error { return unix.Setxattr(file, "security.capability", noCapability(), 0) }},
		{tryDevices, "make a device node",
			func() error { return unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }},
		{tryDeviceUse, "open a device node", func() error { return os.WriteFile(null, []byte{0}, 0) }},
		{tryMove, "rename a directory",
			func() error { return errors.Join(os.Mkdir(moved, 0o755), os.Rename(moved, moved+"-again")) }},
		{tryRoot, "change the root directory", func() error { return rootAndBack(dir) }},
		{trySupervise, "answer for programs", supervise.Supported},
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

// noCapability is the extended attribute of a program without any: struct vfs_cap_data of linux/capability.h,
// revision 2.
func noCapability() []byte {
	const revision2, size = 0x02000000, 20
	attribute := make([]byte, size)
	binary.LittleEndian.PutUint32(attribute, revision2)
	return attribute
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
