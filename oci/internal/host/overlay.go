// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
)

// Names of storage drivers.
const (
	DriverOverlay = "overlay"
	DriverVFS     = "vfs"
)

// TryOverlay finds out whether overlay works in a directory, by mounting one and writing to it. Without a
// mount namespace it is not tried: a root who may mount would leave mounts behind.
func TryOverlay(by Isolation, dir string) (err error) {
	if by == IsolationChroot {
		return errors.New("the isolation chroot makes no mounts")
	}
	if i := strings.IndexAny(dir, `,:\`); i >= 0 {
		return fmt.Errorf("the name %s contains %q, which means something else in the options of its mount", dir, dir[i])
	}
	dir, err = os.MkdirTemp(dir, "overlay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(at("lower/file"), []byte("lower"), 0o644); err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work"))
	if inUserNamespace() {
		// trusted.* attributes, in which overlay keeps its notes otherwise, are for the host's root.
		data += ",userxattr"
	}
	if len(data) >= os.Getpagesize() {
		return fmt.Errorf("the name of %d bytes of the directory is too long for the options of its mount", len(dir))
	}
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, data); err != nil {
		return fmt.Errorf("mount an overlay: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(at("merged"), unix.MNT_DETACH)) }()
	if err := os.Chmod(at("merged/file"), 0o600); err != nil {
		return fmt.Errorf("copy a file up: %w", err)
	}
	return os.Remove(at("merged/file"))
}

// inUserNamespace reports whether not all ids of the host exist here.
func inUserNamespace() bool {
	var start, host, count uint64
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	_, err = fmt.Sscan(string(data), &start, &host, &count)
	return err != nil || count != 1<<32-1
}

// TryOwners finds out whether files of a directory can have the owners of a root file system: those of NFS and FAT
// cannot, for one. Where there is a single id, owners are kept in extended attributes, which not every file system has.
// The error that says so is an *Error.
func TryOwners(by Isolation, dir string) (err error) {
	name, err := os.MkdirTemp(dir, "owners-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(name)) }()
	link := filepath.Join(name, "link")
	if err := os.Symlink("nothing", link); err != nil {
		return &Error{Cause: "the file system of " + dir + " has no symbolic links", Fix: otherFilesystem, Err: err}
	}
	for _, file := range []string{name, link} {
		fd, err := unix.Open(file, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		how := "cannot give files to other owners"
		if by == IsolationSingle {
			how = "cannot keep owners in extended attributes"
			err = owners.Chown(fd, owners.Owner{UID: 1, GID: 1})
		} else {
			err = unix.Fchownat(fd, "", 1, 1, unix.AT_EMPTY_PATH)
		}
		unix.Close(fd)
		if err != nil {
			return &Error{Cause: "the file system of " + dir + " " + how, Fix: otherFilesystem, Err: err}
		}
	}
	return nil
}

// otherFilesystem is the fix of a state directory that does not suit.
const otherFilesystem = "name a directory on another file system, ext4 for example, with --state-dir"
