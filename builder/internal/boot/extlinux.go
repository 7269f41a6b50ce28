// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// Extlinux is syslinux on the file system with the kernels, for BIOS.
type Extlinux struct{ commonLoader }

func (Extlinux) String() string { return "extlinux" }

func (Extlinux) BIOS() bool { return true }

func (Extlinux) LegacyBoot() bool { return true }

func (Extlinux) kernelNames() []string { return []string{"vmlinuz-"} }

// Dense: syslinux cannot read holes, and reads only the kernels' directory and its own, the top (boot loaders' notes,
// Debian's syslinux bmap.c).
func (Extlinux) Dense(dir string) bool { return dir == "." || dir == "boot" }

// Check holds the file systems that extlinux is installed on, of / or of a /boot that is a partition. Types that do not
// change have a rule of their own.
func (l Extlinux) Check(r Request) []error {
	if !r.Image {
		return nil
	}
	var problems []error
	root, boot := filesystem.Lookup(r.Roottype), filesystem.Lookup(r.Boottype)
	unread := root.Root && !root.Extlinux && !root.ReadOnly
	if unread && r.Bootsize == 0 {
		problems = append(problems, problem.New("--roottype",
			"extlinux on %s is not yet supported: use --bootsize, --grub or --no-extlinux", r.Roottype)...)
	}
	if r.Bootsize > 0 && boot.Boot && !boot.Extlinux {
		problems = append(problems, problem.New("--boottype",
			"extlinux cannot be on %s: choose ext2, ext3, ext4 or vfat, or use --grub", r.Boottype)...)
	}
	return append(problems, bootOutsideReadOnly(l, r)...)
}

func (l Extlinux) Claims(d Disk) []diskimage.Claim {
	if !d.MBR {
		return nil
	}
	return []diskimage.Claim{bootCode(l)}
}

func (l Extlinux) Steps(d Disk) []step.Step { return []step.Step{l.step(d)} }

// step is what extlinux needs in the root file system.
func (Extlinux) step(d Disk) step.Extlinux {
	step := step.Extlinux{Directory: "/", Arguments: d.kernelArguments()}
	if d.Boot().Role == diskimage.RoleBoot {
		step.Directory = "/boot"
	}
	if d.Serial != "" {
		step.SerialBaud = serialBaud
	}
	return step
}

// Configure writes extlinux.conf as the kernel hook will write it whenever a kernel comes.
func (l Extlinux) Configure(d Disk, f *target.Memory) error {
	if err := forgetRoot(f); err != nil {
		return err
	}
	setup := l.step(d)
	// The hook takes the one in /boot if there are two.
	for _, other := range []string{"/" + syslinux.ConfigName, "/boot/" + syslinux.ConfigName} {
		if other != setup.Config() {
			if err := f.Remove(other); err != nil {
				return err
			}
		}
	}
	if err := setup.Write(f); err != nil {
		return err
	}
	kernels, err := Kernels(l, f)
	if err != nil {
		return err
	}
	arguments, err := f.ReadFile(step.KernelArgumentsFile)
	if err != nil {
		return err
	}
	config, err := f.ReadFile(setup.Config())
	if err != nil {
		return err
	}
	config, ok := syslinux.WithKernels(config, kernels, d.bootPrefix(),
		strings.Join(strings.Fields(string(arguments)), " "))
	if !ok {
		return &problem.Problem{Flag: "--boot",
			Err: fmt.Errorf("%s of the root file system does not say where its kernels go, and may name another disk: "+
				"remove it", setup.Config())}
	}
	return f.WriteFile(setup.Config(), config, 0o644)
}

// Prepare installs syslinux. The configuration is in the root file system already, see step.Extlinux.
func (Extlinux) Prepare(ctx context.Context, d Disk, src Source) (Parts, error) {
	program, err := src.SyslinuxFile(ctx, "/usr/bin/extlinux")
	if err != nil {
		return Parts{}, err
	}
	loader, err := syslinux.Extract(program)
	if err != nil {
		return Parts{}, err
	}
	module, err := src.SyslinuxFile(ctx, "/usr/lib/syslinux/modules/bios/ldlinux.c32")
	if err != nil {
		return Parts{}, err
	}
	var mbr []byte
	if d.MBR {
		name := "mbr.bin"
		if d.Layout.Table == diskimage.GPT {
			name = "gptmbr.bin"
		}
		if mbr, err = src.SyslinuxFile(ctx, "/usr/lib/syslinux/mbr/"+name); err != nil {
			return Parts{}, err
		}
	}
	part := d.Boot()
	files := []diskimage.Entry{
		diskimage.FileEntry("ldlinux.sys", 0o444, loader.File(), d.Time),
		diskimage.FileEntry("ldlinux.c32", 0o444, module, d.Time),
	}
	for i := range files {
		files[i].Immutable = true // as extlinux --install leaves them
	}
	patches := func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error) {
		extents, err := volumes[part.Number].Extents("ldlinux.sys")
		if err != nil {
			return nil, err
		}
		place := syslinux.Placement{StartLBA: part.StartLBA(), Sectors: part.Sectors(), File: extents, Directory: "/"}
		if part.Filesystem.Type == "vfat" {
			place.FAT, place.Copy = true, fat.BootSectorCopy(part.Size, part.SectorSize)
		}
		patches, file, err := loader.Install(place)
		if err != nil {
			return nil, err
		}
		for _, e := range extents {
			n := min(e.Length, int64(len(file)))
			patches = append(patches, diskimage.Patch{Offset: int64(part.Start) + e.Offset, Data: file[:n],
				What: "ldlinux.sys"})
			file = file[n:]
		}
		if mbr == nil {
			return patches, nil
		}
		code, err := syslinux.MBRCode(mbr)
		return append(patches, code), err
	}
	return Parts{Files: map[int][]diskimage.Entry{part.Number: files}, Patches: patches}, nil
}
