package builder

import (
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

// fakeTarget is a Target over a directory of the test. It runs nothing: each command is a line of the transcript, and
// on gives what one of them does instead.
type fakeTarget struct {
	root       string
	transcript []string
	stdin      []string
	on         func(args []string, out io.Writer) error
}

func newFakeTarget(t *testing.T, files map[string]string) *fakeTarget {
	t.Helper()
	f := &fakeTarget{root: t.TempDir()}
	for name, text := range files {
		path := f.path(name)
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

func (f *fakeTarget) path(name string) string { return filepath.Join(f.root, name) }
func (f *fakeTarget) Root() string            { return f.root }
func (f *fakeTarget) OwnerXattrs() bool       { return false }

func (f *fakeTarget) Run(_ context.Context, p *specs.Process, _ []specs.Mount, in io.Reader, out io.Writer) error {
	line := strings.Join(p.Args, " ")
	f.transcript = append(f.transcript, line)
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	f.stdin = append(f.stdin, string(text))
	if f.on != nil {
		return f.on(p.Args, out)
	}
	return nil
}

func (f *fakeTarget) MountAt(dst string) []specs.Mount {
	return []specs.Mount{target.Bind(f.root, dst)}
}

func (f *fakeTarget) ReadFile(name string) ([]byte, error) { return os.ReadFile(f.path(name)) }

func (f *fakeTarget) WriteFile(name string, data []byte, mode fs.FileMode) error {
	if err := f.Remove(name); err != nil {
		return err
	}
	if err := os.WriteFile(f.path(name), data, mode); err != nil {
		return err
	}
	return os.Chmod(f.path(name), mode)
}

func (f *fakeTarget) MkdirAll(name string, mode fs.FileMode) error {
	return os.MkdirAll(f.path(name), mode)
}

func (f *fakeTarget) Symlink(text, name string) error {
	if err := f.Remove(name); err != nil {
		return err
	}
	return os.Symlink(text, f.path(name))
}

func (f *fakeTarget) Remove(name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *fakeTarget) RemoveAll(name string) error                               { return os.RemoveAll(f.path(name)) }
func (f *fakeTarget) ReadDir(name string) ([]fs.DirEntry, error)                { return os.ReadDir(f.path(name)) }
func (f *fakeTarget) Readlink(name string) (string, error)                      { return os.Readlink(f.path(name)) }
func (f *fakeTarget) Lstat(name string) (fs.FileInfo, error)                    { return os.Lstat(f.path(name)) }
func (f *fakeTarget) Snapshot(context.Context, string, map[string]string) error { return nil }
func (f *fakeTarget) Before(context.Context, int) (target.Rootfs, error)        { return f, nil }
func (f *fakeTarget) Close() error                                              { return nil }

// readable gives a file's text, a symbolic link as "-> TEXT", and "(absent)".
func (f *fakeTarget) readable(name string) string {
	if link, err := os.Readlink(f.path(name)); err == nil {
		return "-> " + link
	}
	text, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(text)
}

// always gives the same toolbox for each program.
func always(f *fakeTarget) func(context.Context) (target.Rootfs, error) {
	return func(context.Context) (target.Rootfs, error) { return f, nil }
}
