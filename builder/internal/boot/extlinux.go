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

// Extlinux installs syslinux on the file system with the kernels, for BIOS.
type Extlinux struct{ commonLoader }

// String implements Loader.
func (Extlinux) String() string { return "extlinux" }

// BIOS implements Loader.
func (Extlinux) BIOS() bool { return true }

// LegacyBoot implements Loader.
func (Extlinux) LegacyBoot() bool { return true }

func (Extlinux) kernelNames() []string { return []string{"vmlinuz-"} }

// Dense implements Loader. syslinux cannot read holes. It reads only the directory of the kernels and its own, the
// top-level directory (Debian's syslinux, bmap.c).
func (Extlinux) Dense(dir string) bool { return dir == "." || dir == "boot" }

// Check implements Loader. It checks whether extlinux supports the file system of /, or of a separate /boot. There is a
// separate check for read-only types.
func (l Extlinux) Check(r Request) []error {
	if !r.Image {
		return nil
	}
	var problems []error
	root, boot := filesystem.Lookup(r.Roottype), filesystem.Lookup(r.Boottype)
	unsupported := root.Root && !root.Extlinux && !root.ReadOnly
	if unsupported && r.Bootsize == 0 {
		problems = append(problems, problem.New("--roottype",
			"extlinux on %s is not yet supported: use --bootsize, --grub or --no-extlinux", r.Roottype)...)
	}
	if r.Bootsize > 0 && boot.Boot && !boot.Extlinux {
		problems = append(problems, problem.New("--boottype",
			"extlinux cannot be on %s: choose ext2, ext3, ext4 or vfat, or use --grub", r.Boottype)...)
	}
	return append(append(problems, bootOutsideReadOnly(l, r)...), bootOutsideEncrypted(l, r)...)
}

// Claims implements Loader.
func (l Extlinux) Claims(d Disk) []diskimage.Claim {
	if !d.MBR {
		return nil
	}
	return []diskimage.Claim{bootCode(l)}
}

// Steps implements Loader.
func (l Extlinux) Steps(d Disk) []step.Step { return []step.Step{l.step(d)} }

// step returns the step that configures extlinux in the root file system.
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

// Configure implements Loader. It writes extlinux.conf in the form in which the kernel hook updates it later.
func (l Extlinux) Configure(d Disk, f *target.Memory) error {
	if err := removeRootArguments(f); err != nil {
		return err
	}
	setup := l.step(d)
	// The hook prefers the file in /boot if there are two.
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
			Err: fmt.Errorf("%s of the root file system does not mark where its kernels go and may name another disk: "+
				"remove it", setup.Config())}
	}
	return f.WriteFile(setup.Config(), config, 0o644)
}

// Prepare implements Loader. It installs syslinux; step.Extlinux has written the configuration to the root file system.
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
		placement := syslinux.Placement{StartLBA: part.StartLBA(), Sectors: part.Sectors(), File: extents,
			Directory: "/"}
		if part.Filesystem.Type == "vfat" {
			placement.FAT, placement.Copy = true, fat.BootSectorCopy(part.Size, part.SectorSize)
		}
		patches, file, err := loader.Install(placement)
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
