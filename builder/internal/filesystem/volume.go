// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Mount points in the toolbox while mkfs runs.
const (
	insideRoot = "/run/mkfs/root"
	insideWork = "/run/mkfs/work"
)

// Tools runs programs that make file systems.
type Tools struct {
	// Run runs a program of the toolbox with mounts and a text on its standard input, and returns its output.
	Run func(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) (output string, err error)
	// Tree returns a Tree of a directory that becomes a file system.
	Tree func(dir string) diskimage.Tree
	// TempDir is a directory of the host for the unfinished file system.
	TempDir string
}

// Volume is a file system that a program makes. The positions of its files are not known.
type Volume struct {
	Tools      Tools
	Filesystem diskimage.Filesystem
	Size       diskimage.Size
	// Dir is the directory that becomes the file system. The directories in EmptyDirs, relative to it, become empty.
	Dir       string
	EmptyDirs []string
	// Latest, if set, replaces later times. Those of the files in Dir change, too: programs record the times that they
	// find.
	Latest time.Time
	// Made is the finished file system, if it was needed earlier to know the size of the disk.
	Made *os.File
}

// Extents implements diskimage.Volume.
func (v *Volume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("position of %s on %s: %w", name, v.Filesystem.Type, fs.ErrNotExist)
}

// Write implements diskimage.Volume. It shares the data of the program's file with dst if the file system of the host
// supports that, and copies them otherwise.
func (v *Volume) Write(ctx context.Context, dst io.WriterAt) (err error) {
	made := v.Made
	if made == nil {
		if made, err = v.Make(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, made.Close()) }()
	}
	info, err := made.Stat()
	if err != nil {
		return err
	}
	if info.Size() > int64(v.Size) {
		return &diskimage.NoSpaceError{What: "bytes", Needed: uint64(info.Size()), Available: uint64(v.Size),
			BlockSize: 1}
	}
	return diskimage.CopyFile(ctx, dst, made)
}

// Make runs the program on a sparse file and returns that. The file has no name any more: closing it frees its space.
func (v *Volume) Make(ctx context.Context) (made *os.File, err error) {
	work, err := os.MkdirTemp(v.Tools.TempDir, "mkfs-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image := filepath.Join(work, "image")
	if err := v.create(image); err != nil {
		return nil, err
	}
	if err := v.clamp(); err != nil {
		return nil, err
	}
	// Beside work, not in it: where nothing can be mounted, work itself moves into the toolbox.
	empties, err := os.MkdirTemp(v.Tools.TempDir, "mkfs-empty-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(empties)) }()
	mounts := []specs.Mount{target.Bind(v.Dir, insideRoot, "ro"), target.Bind(work, insideWork)}
	for i, name := range v.EmptyDirs {
		empty := filepath.Join(empties, strconv.Itoa(i))
		if exists, err := emptyCopy(empty, filepath.Join(v.Dir, name)); err != nil {
			return nil, err
		} else if exists {
			mounts = append(mounts, target.Bind(empty, insideRoot+"/"+name, "ro"))
		}
	}
	args := v.program().args(v.Filesystem, insideWork+"/image", insideRoot)
	if _, err := v.Tools.Run(ctx, mounts, "", args...); err != nil {
		return nil, err
	}
	if err := v.addACLs(ctx, work); err != nil {
		return nil, err
	}
	// The program may have replaced the file.
	return os.Open(image)
}

// clamp sets times after Latest to it. It leaves the content of EmptyDirs alone.
func (v *Volume) clamp() error {
	if v.Latest.IsZero() {
		return nil
	}
	latest := unix.NsecToTimespec(v.Latest.UnixNano())
	times := []unix.Timespec{latest, latest}
	return filepath.WalkDir(v.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(v.Latest) {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &fs.PathError{Op: "set the time of", Path: name, Err: err}
			}
		}
		relative, err := filepath.Rel(v.Dir, name)
		if d.IsDir() && slices.Contains(v.EmptyDirs, relative) {
			return fs.SkipDir
		}
		return err
	})
}

// create makes the file for a file system, with its final length unless that depends on the content.
func (v *Volume) create(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if !Lookup(v.Filesystem.Type).ReadOnly {
		err = file.Truncate(int64(v.Size))
	}
	return errors.Join(err, file.Close())
}

// program returns the program that makes the file system.
func (v *Volume) program() *Program { return Lookup(v.Filesystem.Type).Program }

// emptyCopy makes a directory with the permissions and times of original. It reports whether original is a directory.
func emptyCopy(name, original string) (bool, error) {
	info, err := os.Lstat(original)
	if err != nil || !info.IsDir() {
		return false, nil
	}
	if err := os.Mkdir(name, 0o755); err != nil {
		return false, err
	}
	if err := os.Chmod(name, info.Mode()); err != nil {
		return false, err
	}
	return true, os.Chtimes(name, info.ModTime(), info.ModTime())
}
