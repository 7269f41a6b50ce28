// SPDX-License-Identifier: Apache-2.0

// Package targettest has a root file system for tests: a directory, and a transcript of the programs that would have
// run in it.
package targettest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Target implements target.Rootfs on a temporary directory of a test. It runs no programs: Run appends the command line
// to Transcript, its standard input to Stdin, its environment to Env and its mounts to Mounts, and then calls On, if
// set, in place of the program. Lchown changes no owner, which the test need not be allowed to do, and adds to Owners.
type Target struct {
	Dir        string
	Transcript []string
	Stdin      []string
	Env        [][]string
	Mounts     [][]specs.Mount
	Processes  []*specs.Process
	// Owners has UID:GID by the names of files whose owner was set.
	Owners map[string]string
	On     func(args []string, out io.Writer) error
}

// New returns a Target with the files, by their names. A name that ends in a slash is a directory.
func New(t *testing.T, files map[string]string) *Target {
	t.Helper()
	f := &Target{Dir: t.TempDir()}
	for name, text := range files {
		path := f.Path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// Path returns the path of a file on the host.
func (f *Target) Path(name string) string { return filepath.Join(f.Dir, name) }

// Root implements target.Target.
func (f *Target) Root() string { return f.Dir }

// OwnerXattrs implements target.Target.
func (f *Target) OwnerXattrs() bool { return false }

// Run implements target.Target.
func (f *Target) Run(_ context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader, out io.Writer) error {
	line := strings.Join(p.Args, " ")
	f.Transcript = append(f.Transcript, line)
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	f.Stdin = append(f.Stdin, string(text))
	f.Env, f.Mounts, f.Processes = append(f.Env, p.Env), append(f.Mounts, mounts), append(f.Processes, p)
	if f.On != nil {
		return f.On(p.Args, out)
	}
	return nil
}

func (f *Target) MountAt(dst string) []specs.Mount {
	return []specs.Mount{target.Bind(f.Dir, dst)}
}

func (f *Target) ReadFile(name string) ([]byte, error) { return os.ReadFile(f.Path(name)) }

func (f *Target) WriteFile(name string, data []byte, mode fs.FileMode) error {
	return f.CreateFile(name, mode, func(out *os.File) error {
		_, err := out.Write(data)
		return err
	})
}

// CreateFile implements target.Target.
func (f *Target) CreateFile(name string, mode fs.FileMode, write func(*os.File) error) error {
	if err := f.Remove(name); err != nil {
		return err
	}
	out, err := os.Create(f.Path(name))
	if err != nil {
		return err
	}
	return errors.Join(write(out), out.Chmod(mode), out.Close())
}

// Lchown implements target.Target.
func (f *Target) Lchown(name string, uid, gid int) error {
	if f.Owners == nil {
		f.Owners = map[string]string{}
	}
	f.Owners[name] = fmt.Sprintf("%d:%d", uid, gid)
	return nil
}

// Unpack implements target.Target: it writes the regular files and directories.
func (f *Target) Unpack(_ context.Context, archive io.Reader) error {
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, archive)
			return err
		}
		if err == nil && h.Typeflag == tar.TypeDir {
			err = f.MkdirAll(h.Name, fs.FileMode(h.Mode))
		} else if err == nil && h.Typeflag == tar.TypeReg {
			err = f.CreateFile(h.Name, fs.FileMode(h.Mode), func(out *os.File) error {
				_, err := io.Copy(out, r)
				return err
			})
		}
		if err != nil {
			return err
		}
	}
}

// Lsetxattr implements target.Target.
func (f *Target) Lsetxattr(name, attribute string, value []byte) error {
	f.Transcript = append(f.Transcript, fmt.Sprintf("setxattr %s %s %q", name, attribute, value))
	return nil
}

func (f *Target) Chmod(name string, mode fs.FileMode) error { return os.Chmod(f.Path(name), mode) }

func (f *Target) MkdirAll(name string, mode fs.FileMode) error {
	return os.MkdirAll(f.Path(name), mode)
}

func (f *Target) Symlink(text, name string) error {
	if err := f.Remove(name); err != nil {
		return err
	}
	return os.Symlink(text, f.Path(name))
}

func (f *Target) Remove(name string) error {
	if err := os.Remove(f.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *Target) RemoveAll(name string) error                               { return os.RemoveAll(f.Path(name)) }
func (f *Target) ReadDir(name string) ([]fs.DirEntry, error)                { return os.ReadDir(f.Path(name)) }
func (f *Target) Readlink(name string) (string, error)                      { return os.Readlink(f.Path(name)) }
func (f *Target) Lstat(name string) (fs.FileInfo, error)                    { return os.Lstat(f.Path(name)) }
func (f *Target) Snapshot(context.Context, string, map[string]string) error { return nil }
func (f *Target) Before(context.Context, int) (target.Rootfs, error)        { return f, nil }
func (f *Target) Close() error                                              { return nil }

// Readable returns the text of a file, "-> TEXT" for a symbolic link, or "(absent)".
func (f *Target) Readable(name string) string {
	if link, err := os.Readlink(f.Path(name)); err == nil {
		return "-> " + link
	}
	text, err := os.ReadFile(f.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(text)
}

// Always returns a function for step.Context.FreshToolbox that returns f each time.
func Always(f *Target) func(context.Context) (target.Rootfs, error) {
	return func(context.Context) (target.Rootfs, error) { return f, nil }
}
