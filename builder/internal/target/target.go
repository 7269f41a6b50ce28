// SPDX-License-Identifier: Apache-2.0

// Package target describes a root file system under construction for steps and boot loaders. It has the interfaces
// that the containers of package oci implement, and small helpers for them. Tests use package targettest, which
// records a transcript.
package target

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Target is a root file system under construction. *oci.Container implements it; tests have an implementation that
// records a transcript.
type Target interface {
	Files
	// Root is the directory that holds the root file system.
	Root() string
	// OwnerXattrs reports whether the owners of files in Root are stored as extended attributes
	// (diskimage/ownerxattr), because all files belong to the same user. All targets of an engine return the same.
	OwnerXattrs() bool
	// CreateFile is WriteFile with a function that writes the content, which need not fit into memory, and may set
	// the time of the file. It must not start programs.
	CreateFile(name string, mode fs.FileMode, write func(*os.File) error) error
	// Lchown sets the owner of a file, directory or symbolic link. It clears the setuid bit of a file.
	Lchown(name string, uid, gid int) error
	// Chmod sets the permissions of a file or directory, following symbolic links.
	Chmod(name string, mode fs.FileMode) error
	// Lsetxattr sets an extended attribute of a file, directory or symbolic link.
	Lsetxattr(name, attribute string, value []byte) error
	// Unpack adds the files of a tar archive to a target that is empty.
	Unpack(ctx context.Context, archive io.Reader) error
	// Run runs a program with the target as its root directory and with mounts in addition to the usual ones. It
	// returns when the program and all its descendants have ended. An exit status other than 0 is an error that
	// names the program and the status.
	Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader, out io.Writer) error
	// MountAt returns the mounts that make the target usable with chroot(8) at dst inside another target's Run.
	MountAt(dst string) []specs.Mount
}

// Files are the files of a root file system. Every name is resolved inside the root: a symbolic link never leads to the
// host.
type Files interface {
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces a file as a whole; its directory must exist.
	WriteFile(name string, data []byte, mode fs.FileMode) error
	MkdirAll(name string, mode fs.FileMode) error
	// Symlink makes name a symbolic link to text, replacing a file or link of that name.
	Symlink(text, name string) error
	// Remove and RemoveAll succeed if name does not exist.
	Remove(name string) error
	RemoveAll(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Readlink(name string) (string, error)
	// Lstat does not follow a symbolic link in the last element of name.
	Lstat(name string) (fs.FileInfo, error)
}

// Rootfs is a Target of which snapshots can be made.
type Rootfs interface {
	Target
	// Snapshot saves the current state under name with labels, without copying it. Later changes go above it.
	Snapshot(ctx context.Context, name string, labels map[string]string) error
	// Before returns another Rootfs with the state before the n-th snapshot. The first, before which it was empty,
	// is number 1.
	Before(ctx context.Context, n int) (Rootfs, error)
	// Close discards the working state; snapshots stay.
	Close() error
}

// Bind returns a mount of a file or directory of the host.
func Bind(src, dst string, options ...string) specs.Mount {
	return specs.Mount{Type: "bind", Source: src, Destination: dst, Options: append([]string{"rbind"}, options...)}
}

// Exists reports whether name exists. A dangling symbolic link does.
func Exists(f Files, name string) (bool, error) {
	_, err := f.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
