package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// assemblyPrograms gets what boot loaders need without running anything.
type assemblyPrograms struct {
	files   *target.Memory
	spec    Spec
	archive func() (*archive.Client, error)
	say     func(string)
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
	syslinuxPackage: {"usr/lib/syslinux/modules/bios/ldlinux.c32", "usr/lib/syslinux/mbr/mbr.bin", "usr/lib/syslinux/mbr/gptmbr.bin"},
}

// SyslinuxFile gives a file of the root file system if that has all of them, so that they fit together, or of Debian's
// packages, which are read and not installed.
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
	p.say("get the files of extlinux from packages of " + suite)
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
		files, err := archive.ReadFiles(ctx, client.Cache.Path(pkg.SHA256), syslinuxFiles[name]...)
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
		return p.files.ReadFile(boot.GRUBMonolith(platform))
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
