// SPDX-License-Identifier: Apache-2.0

// Package target is a root file system under construction as steps and boot loaders see it: the interfaces
// that containers of package oci satisfy, and small helpers on them. Tests have a target of their own that
// writes a transcript.
package target

import (
	"context"
	"errors"
	"io"
	"io/fs"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Target is a root file system under construction, as a step sees it. *oci.Container is one; tests have another
// that writes a transcript.
type Target interface {
	Files
	// Root is the directory that holds the root file system.
	Root() string
	// OwnerXattrs reports whether the owners of files in Root are extended attributes (diskimage/ownerxattr),
	// because all of them belong to the same user. It is the same for all targets of an engine.
	OwnerXattrs() bool
	// Run runs a program with the target as its root directory and the mounts added to the usual ones. It
	// returns when the program and everything that it started are gone. An exit status other than 0 is an error
	// that names the program and the status.
	Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader, out io.Writer) error
	// MountAt gives the mounts that make the target usable with chroot(8) at dst inside another one's Run.
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
	// Remove and RemoveAll take a missing name for success.
	Remove(name string) error
	RemoveAll(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Readlink(name string) (string, error)
	// Lstat does not follow a symbolic link in the last element of name.
	Lstat(name string) (fs.FileInfo, error)
}

// Rootfs is a Target that can be kept.
type Rootfs interface {
	Target
	// Snapshot keeps the present state under name with labels, without copying it, and goes on above it.
	Snapshot(ctx context.Context, name string, labels map[string]string) error
	// Before gives another one, as this one was at its n-th snapshot; the first, which began with nothing, is 1.
	Before(ctx context.Context, n int) (Rootfs, error)
	// Close throws the working state away; snapshots stay.
	Close() error
}

// Bind mounts a file or directory of the host.
func Bind(src, dst string, options ...string) specs.Mount {
	return specs.Mount{Type: "bind", Source: src, Destination: dst, Options: append([]string{"rbind"}, options...)}
}

// Exists reports whether a name is there, a dangling symbolic link included.
func Exists(f Files, name string) (bool, error) {
	_, err := f.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
