// SPDX-License-Identifier: Apache-2.0

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

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// assemblyPrograms gets what boot loaders need without running anything.
type assemblyPrograms struct {
	files   *target.Memory
	spec    Spec
	archive func() (*archive.Client, error)
	report  *progress.Reporter
	// unpacked is there if a program makes one of the file systems.
	unpacked *unpacked
	// syslinux holds the files of syslinux by name, once they are known.
	syslinux map[string][]byte
}

// Debian's packages with the files of syslinux.
const (
	extlinuxPackage = "extlinux"
	syslinuxPackage = "syslinux-common"
)

// syslinuxFiles are what an image can need of each package.
var syslinuxFiles = map[string][]string{
	extlinuxPackage: {"usr/bin/extlinux"},
	syslinuxPackage: {"usr/lib/syslinux/modules/bios/ldlinux.c32", "usr/lib/syslinux/mbr/mbr.bin",
		"usr/lib/syslinux/mbr/gptmbr.bin"},
}

// SyslinuxFile returns a file of the root file system if that has all of them, so that they fit together, or
// of Debian's packages, which are read and not installed.
func (p *assemblyPrograms) SyslinuxFile(ctx context.Context, name string) ([]byte, error) {
	if p.syslinux == nil {
		found, err := p.ownSyslinux()
		if errors.Is(err, fs.ErrNotExist) {
			found, err = p.packagedSyslinux(ctx)
		}
		if err != nil {
			return nil, err
		}
		p.syslinux = found
	}
	data, ok := p.syslinux[strings.TrimPrefix(name, "/")]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

func (p *assemblyPrograms) ownSyslinux() (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, names := range syslinuxFiles {
		for _, name := range names {
			data, err := p.files.ReadFile(name)
			if err != nil {
				return nil, err
			}
			found[name] = data
		}
	}
	return found, nil
}

func (p *assemblyPrograms) packagedSyslinux(ctx context.Context) (map[string][]byte, error) {
	o, suite := p.spec.Options(), p.spec.Codename()
	components := p.spec.Release().Components()
	if p.spec.Release().Vendor == debian.Debian && !p.spec.toolsFromTarget() {
		suite, components = p.spec.toolboxSuite(), []string{"main"}
	}
	p.report.Message("get the files of extlinux from packages of " + suite)
	client, err := p.archive()
	if err != nil {
		return nil, err
	}
	release, err := client.Release(ctx, o.Mirror.Reveal(), suite)
	if err != nil {
		return nil, fmt.Errorf("look up suite %s: %w", suite, err)
	}
	index, err := readIndexes(ctx, client, release, components, o.Arch)
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for _, name := range []string{extlinuxPackage, syslinuxPackage} {
		pkg := index.Lookup(name)
		if pkg == nil {
			return nil, fmt.Errorf("%s has no package %s", suite, name)
		}
		if err := client.Fetch(ctx, []*archive.Package{pkg}, nil); err != nil {
			return nil, err
		}
		files, err := debfile.ReadFiles(ctx, client.Cache.Path(pkg.SHA256), syslinuxFiles[name]...)
		if err != nil {
			return nil, err
		}
		for name, data := range files {
			found[name] = data
		}
	}
	return found, nil
}

func (p *assemblyPrograms) GRUBImage(_ context.Context, d boot.Disk, platform string) ([]byte, error) {
	if platform != grub.BIOSPlatform {
		return p.files.ReadFile(boot.MonolithicGRUB(platform))
	}
	part, place := d.Boot(), boot.GRUBPlace(d)
	core := grub.Core{
		File:    func(name string) ([]byte, error) { return p.files.ReadFile(boot.GRUBModules(platform) + "/" + name) },
		Modules: grub.CoreModules(platform, part.Filesystem.Type),
		Config:  grub.LoadConfig(place),
		Prefix:  grub.Prefix(d.Layout.Table, part.Number, place.Dir),
	}
	return core.Image()
}

func (p *assemblyPrograms) programVolume(d Disk, part diskimage.Partition) *filesystem.Volume {
	return d.programVolume(p.unpacked.site, p.unpacked.dir, part)
}

// RunsPrograms reports whether one of the file systems is made by a program of Debian, which needs the
// Executor, and the root file system as a directory.
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
	_, sources, err := x.Resolve(ctx, spec, a.Lock)
	if err != nil {
		return nil, err
	}
	u = &unpacked{dir: filepath.Join(x.TempDir, "assembly")}
	if u.toolbox, err = x.toolbox(ctx, spec, sources); err != nil {
		return nil, fmt.Errorf("make the toolbox: %w", err)
	}
	u.site = &step.Context{Toolbox: u.toolbox, Tmp: x.TempDir, Proxy: proxyEnviron(x.Environ), Log: x.Log,
		Out: step.NewTail(x.Output, spec.o.Mirror), Epoch: a.Lock.epoch()}
	a.Progress.Announce(unpackRoot)
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
