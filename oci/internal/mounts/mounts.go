// SPDX-License-Identifier: Apache-2.0

// Package mounts holds the few operations on mounts that pid 1 of a container and the helper that enters
// namespaces need: copies of mount trees (open_tree(2), move_mount(2)), their attributes (mount_setattr(2)),
// and the options of a specs.Mount.
package mounts

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// OpenTree returns a copy of the mount at a name, with those below it if recursive. The caller closes it or
// attaches it.
func OpenTree(source string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.OpenTree(unix.AT_FDCWD, source, flags)
}

// Attach puts a tree from OpenTree on dst.
func Attach(tree int, dst string) error {
	return unix.MoveMount(tree, "", unix.AT_FDCWD, dst, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
}

// SetAttributes adds attributes of mount_setattr(2) to a mount, and to those below it if recursive.
func SetAttributes(dst string, attributes uint64, recursive bool) error {
	if attributes == 0 {
		return nil
	}
	var flags uint
	if recursive {
		flags = unix.AT_RECURSIVE
	}
	return unix.MountSetattr(unix.AT_FDCWD, dst, flags, &unix.MountAttr{Attr_set: attributes})
}

// ID tells mounts of this namespace apart.
func ID(name string) (uint64, error) { return IDAt(unix.AT_FDCWD, name) }

// IDAt is mountID of a name in a directory, or of an open file if the name is empty.
func IDAt(dir int, name string) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, &fs.PathError{Op: "statx", Path: name, Err: err}
	}
	return st.Mnt_id, nil
}
