package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// RunsPrograms reports whether one of the file systems is made by a program of Debian, which needs the Executor, and the
// root file system as a directory.
func (a *Assembly) RunsPrograms() bool {
	return len(Spec{o: a.Options}.mkfsTypes()) > 0
}

// unpacked is a root file system as a directory, and where programs can work on it.
type unpacked struct {
	site    *step.Context
	dir     string
	toolbox Rootfs
}

// unpack makes a directory of the configured tree, and the toolbox.
func (a *Assembly) unpack(ctx context.Context, spec Spec, tree diskimage.Tree) (u *unpacked, err error) {
	x := a.Executor
	_, sources, err := Resolve(ctx, spec, x.Archive, a.Lock)
	if err != nil {
		return nil, err
	}
	u = &unpacked{dir: filepath.Join(x.TempDir, "assembly")}
	if u.toolbox, err = x.toolbox(ctx, spec, sources); err != nil {
		return nil, fmt.Errorf("make the toolbox: %w", err)
	}
	u.site = &step.Context{Toolbox: u.toolbox, Tmp: x.TempDir, Proxy: proxyEnviron(x.Environ), Log: x.Log, Out: step.NewTail(x.Output, spec.o.Mirror), Epoch: a.Lock.epoch()}
	a.Say("unpack the root file system")
	if err := x.unpackTree(ctx, withoutDevices(tree), u.dir); err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

// withoutDevices leaves out device nodes, which no container has, see filesystem.Program.
func withoutDevices(tree diskimage.Tree) diskimage.Tree {
	return diskimage.Filter(tree, func(e diskimage.Entry) bool {
		kind := e.Mode & unix.S_IFMT
		return kind != unix.S_IFCHR && kind != unix.S_IFBLK
	})
}

func (u *unpacked) close() error { return errors.Join(u.toolbox.Close(), os.RemoveAll(u.dir)) }

// unpackTree makes a directory of a tree.
func (x *Executor) unpackTree(ctx context.Context, tree diskimage.Tree, dir string) error {
	reader, writer := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := tarfile.Write(ctx, writer, tree)
		return errors.Join(err, writer.CloseWithError(err))
	})
	group.Go(func() error {
		err := x.Engine.Unpack(ctx, reader, dir)
		// What is left of the archive's end is of no use, but its writer waits.
		_, drained := io.Copy(io.Discard, reader)
		return errors.Join(err, drained, reader.Close())
	})
	return group.Wait()
}
