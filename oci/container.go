// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
)

// Container is a writable root file system in which programs run. The caller closes it.
type Container struct {
	engine *Engine
	layer  string // ID of the layer in the store
	root   string // where it is mounted
	// layers are the layers below, all from snapshots.
	layers layerChain
}

// rootMode is the mode of the root directory of every container.
const rootMode = 0o755

// Scratch returns an empty container: its root directory has mode 0755 and belongs to 0:0.
func (e *Engine) Scratch(ctx context.Context) (*Container, error) {
	c := &Container{engine: e}
	if err := c.begin(ctx, ""); err != nil {
		return nil, fmt.Errorf("create a container: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = append(e.containers, c)
	return c, nil
}

// From verifies a snapshot and returns a container on top of it. The error wraps fs.ErrNotExist if
// there is no snapshot of that name, or if it was damaged and has been removed.
func (e *Engine) From(ctx context.Context, name string) (*Container, error) {
	image, record, err := e.verified(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &Container{engine: e, layers: layerChain{record.Layers, record.Folded}}
	if err := c.begin(ctx, image.TopLayer); err != nil {
		return nil, notExist(name, err)
	}
	// Another process may just have removed the snapshot; the container holds its layers.
	if err := e.touch(image); err != nil && !errors.Is(err, storage.ErrImageUnknown) &&
		!errors.Is(err, storage.ErrNotAnID) {
		return nil, errors.Join(fmt.Errorf("record the use of snapshot %q: %w", name, err), c.Close())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = append(e.containers, c)
	return c, nil
}

// Before returns a container in the state that this one had at its n-th snapshot, counted from the
// first, which began empty. The error wraps fs.ErrNotExist if there is no such state, or if the
// container does not rest on it, see Store.fold, and its snapshot was removed.
func (c *Container) Before(ctx context.Context, n int) (*Container, error) {
	layers, err := c.engine.layersAt(ctx, c.layers, n)
	if err != nil {
		return nil, fmt.Errorf("snapshot %d of a container: %w", n, err)
	}
	before := &Container{engine: c.engine, layers: layers}
	if err := before.begin(ctx, layers.top()); err != nil {
		return nil, fmt.Errorf("create a container: %w", err)
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.engine.containers = append(c.engine.containers, before)
	return before, nil
}

// begin creates a new layer above parent and mounts it.
func (c *Container) begin(ctx context.Context, parent string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	layer, err := c.engine.store.CreateLayer("", parent, []string{c.engine.session.workName()}, "", true, nil)
	if err != nil {
		return err
	}
	// Volatile: unfinished work is discarded after a crash, and dpkg calls fsync after every file.
	// The store mounts only its own containers this way, and those cannot become images without a
	// copy. No other process mounts this layer.
	root, err := c.engine.layers.driver.Get(layer.ID, graphdriver.MountOpts{Volatile: true})
	if err != nil {
		return errors.Join(err, c.engine.store.DeleteLayer(layer.ID))
	}
	if err := c.engine.layers.openWork(layer.ID); err != nil {
		return errors.Join(err, c.engine.layers.driver.Put(layer.ID), c.engine.store.DeleteLayer(layer.ID))
	}
	c.layer, c.root = layer.ID, root
	if err := c.engine.layers.completeVFS(layer); err != nil {
		return errors.Join(err, c.Close())
	}
	// The store sets 0555, or a mode that depends on the umask.
	return os.Chmod(root, rootMode)
}

// Root returns the directory where the container's root file system is mounted, for this process
// and its children. Snapshot changes it.
func (c *Container) Root() string { return c.root }

// OwnerXattrs reports whether the owners of files in Root are kept in extended attributes: see
// package ownerxattr.
func (c *Container) OwnerXattrs() bool { return c.engine.options.Place.SingleID() }

// MountAt returns the mounts that make this container usable with chroot(8) at dst inside another
// container's Run: its root directory with /dev, /proc, /sys and /run. A mount is left out if the
// root file system does not have its directory yet, except for /dev: debootstrap needs /dev, mounts
// /proc itself, and unpacks directories whose times cannot be changed while they are mount points.
func (c *Container) MountAt(dst string) []specs.Mount {
	mounts := []specs.Mount{{Destination: dst, Type: "bind", Source: c.root, Options: []string{"rbind"}}}
	mounts = append(mounts, run.DevMounts(dst+"/dev")...)
	for _, m := range []struct {
		name   string
		mounts []specs.Mount
	}{
		{"/proc", []specs.Mount{run.ProcMount(dst + "/proc")}},
		{"/sys", []specs.Mount{run.SysMount(dst + "/sys")}},
		{"/run", run.MountsForRun(c.engine.runner.Template, dst+"/run")},
	} {
		if info, err := c.Lstat(m.name); err == nil && info.IsDir() {
			mounts = append(mounts, m.mounts...)
		}
	}
	return mounts
}

// Run runs a program with the container as its root directory; mounts are added to those that every
// container has. It returns when the program and all processes that it started have ended. Standard
// output and error go to out, which receives one Write at a time; nil discards them. A nil stdin is
// empty.
//
// A stdin that is not an *os.File must end by itself.
//
// Name resolution works: the file below /run that /etc/resolv.conf points to has the host's
// content, and if /etc/resolv.conf does not exist, it is created for the duration of the run. A
// regular file is left as it is.
//
// When ctx is done, all processes get SIGTERM, and SIGKILL two seconds later. The error is an
// *ExitError if the program did not succeed; it wraps fs.ErrNotExist if the program does not exist.
func (c *Container) Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, stdin io.Reader,
	out io.Writer) error {
	return c.engine.runner.Run(ctx, c, p, mounts, stdin, out)
}

// Close ends the use of the container. It and everything written since the last snapshot is removed in the background,
// before Engine.Close returns. Close may be called more than once.
func (c *Container) Close() error {
	e := c.engine
	e.mu.Lock()
	e.containers = slices.DeleteFunc(e.containers, func(o *Container) bool { return o == c })
	e.mu.Unlock()
	if c.layer == "" {
		return nil
	}
	layer := c.layer
	c.layer, c.root = "", ""
	if err := e.layers.driver.Put(layer); err != nil {
		return fmt.Errorf("unmount a container: %w", err)
	}
	e.removed.add("a container", func() error { return e.store.DeleteLayer(layer) })
	return nil
}
