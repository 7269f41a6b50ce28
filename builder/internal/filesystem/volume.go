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

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Places in the toolbox while mkfs runs.
const (
	insideRoot = "/run/mkfs/root"
	insideWork = "/run/mkfs/work"
)

// Tools run the programs.
type Tools struct {
	// Run runs a program of the toolbox with mounts, a text on its standard input, and returns what it printed.
	Run func(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) (output string, err error)
	// Tree reads a directory that becomes a file system.
	Tree func(dir string) diskimage.Tree
	// TempDir is a directory of the host for the file system that is made.
	TempDir string
}

// Volume is a file system that a program makes. Where its files will be is not known.
type Volume struct {
	Tools      Tools
	Filesystem diskimage.Filesystem
	Size       diskimage.Size
	// Dir is the directory that becomes the file system; directories below it are taken for empty if they are
	// in Covered.
	Dir     string
	Covered []string
	// Made is the finished file system, if the size of the disk had to wait for it.
	Made *os.File
}

// Extents implements diskimage.Volume.
func (v *Volume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("place of %s on %s: %w", name, v.Filesystem.Type, fs.ErrNotExist)
}

// Write implements diskimage.Volume: the data of the file that the program writes are shared with dst where the file
// systems below can do that, and copied where they cannot.
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

// Make has the program write to a sparse file, which goes when the caller closes it: it has no name any more.
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
	mounts := []specs.Mount{target.Bind(v.Dir, insideRoot, "ro"), target.Bind(work, insideWork)}
	for i, name := range v.Covered {
		empty := filepath.Join(work, fmt.Sprintf("empty-%d", i))
		if there, err := emptyCopy(empty, filepath.Join(v.Dir, name)); err != nil {
			return nil, err
		} else if there {
			mounts = append(mounts, target.Bind(empty, insideRoot+"/"+name, "ro"))
		}
	}
	if _, err := v.Tools.Run(ctx, mounts, "", v.program().args(v.Filesystem, insideWork+"/image", insideRoot)...); err != nil {
		return nil, err
	}
	if err := v.amend(ctx, work); err != nil {
		return nil, err
	}
	// The program may have made a new file in place of the one that it was given.
	return os.Open(image)
}

// create makes the file for a file system, as long as that will be.
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

// program is the one that makes the file system.
func (v *Volume) program() *Program { return Lookup(v.Filesystem.Type).Program }

// emptyCopy makes a directory with the permissions and times of another, if that is there.
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
