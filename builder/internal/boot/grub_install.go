// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// Prepare implements Loader. It installs GRUB for each firmware of the disk; all use the same grub.cfg.
func (l GRUB) Prepare(ctx context.Context, d Disk, src Source) (Parts, error) {
	var parts Parts
	if l.OnBIOS {
		patches, err := grubBIOS(ctx, d, src)
		if err != nil {
			return Parts{}, err
		}
		parts.Patches = func(map[int]diskimage.Volume) ([]diskimage.Patch, error) { return patches, nil }
	}
	if l.onUEFI {
		files, err := l.efiFiles(ctx, d, src)
		if err != nil {
			return Parts{}, err
		}
		esp, _ := d.Layout.Partition(diskimage.RoleESP)
		parts.Files = map[int][]diskimage.Entry{esp.Number: files}
	}
	return parts, nil
}

// grubBIOS returns the boot code of GRUB for BIOS.
func grubBIOS(ctx context.Context, d Disk, src Source) ([]diskimage.Patch, error) {
	bootImage, err := src.ReadFile(GRUBModules(grub.BIOSPlatform) + "/boot.img")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the image has no GRUB for BIOS (package grub-pc-bin): %w", err)
	}
	if err != nil {
		return nil, err
	}
	core, err := src.GRUBImage(ctx, d, grub.BIOSPlatform)
	if err != nil {
		return nil, err
	}
	embedding := grub.Embedding{CoreLBA: 1, Sectors: uint64(d.Layout.FirstStart()/diskimage.SectorSize) - 1}
	if p, ok := d.Layout.Partition(diskimage.RoleBIOSBoot); ok {
		embedding = grub.Embedding{CoreLBA: p.StartLBA(), Sectors: p.Sectors()}
	}
	return grub.EmbedBIOS(bootImage, core, embedding)
}

// efiFiles returns the files for the EFI system partition: the signed programs of Debian for the platform
// that has them, and a GRUB from src for the others. grub.cfg is for programs without the location of
// /boot/grub built in.
func (l GRUB) efiFiles(ctx context.Context, d Disk, src Source) ([]diskimage.Entry, error) {
	config := grub.EFIConfig(GRUBPlace(d))
	files := []diskimage.Entry{
		diskimage.FileEntry("EFI/BOOT/grub.cfg", 0o644, config, d.Time),
		diskimage.FileEntry("EFI/"+d.vendorDir()+"/grub.cfg", 0o644, config, d.Time),
	}
	for _, platform := range l.platforms(d) {
		switch {
		case platform == grub.BIOSPlatform:
		case d.SignedEFI && platform == grub.EFIPlatform(d.Arch):
			signed, err := grubSigned(d, src, platform)
			if err != nil {
				return nil, err
			}
			files = append(files, signed...)
		default:
			removable, installed, err := grub.EFIPaths(platform, d.vendorDir())
			if err != nil {
				return nil, err
			}
			program, err := src.GRUBImage(ctx, d, platform)
			if err != nil {
				return nil, err
			}
			for _, name := range []string{removable, installed} {
				files = append(files, diskimage.FileEntry(name, 0o644, program, d.Time))
			}
		}
	}
	return files, nil
}

// fileReader reads files of the root file system.
type fileReader interface {
	ReadFile(name string) ([]byte, error)
}

// grubSigned returns the files of shim and the signed GRUB.
func grubSigned(d Disk, src fileReader, platform string) ([]diskimage.Entry, error) {
	list, err := grub.EFISignedFiles(platform, d.vendorDir())
	if err != nil {
		return nil, err
	}
	var files []diskimage.Entry
	for _, f := range list {
		data, err := src.ReadFile("/" + f.From)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf(
				"the image has no signed GRUB for UEFI (packages shim-signed and grub-efi-*-signed): %w", err)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, diskimage.FileEntry(f.To, 0o644, bytes.Clone(data), d.Time))
	}
	return files, nil
}

// MakeGRUBImage runs the target's own grub-mkimage to make the part of GRUB that finds /boot/grub: core.img, or an EFI
// program. Its version must be that of the modules there.
func MakeGRUBImage(ctx context.Context, s *step.Context, d Disk, platform string) ([]byte, error) {
	// grub-mkimage seeks in its input and syncs its output, so pipes do not work.
	dir, err := os.MkdirTemp(s.Tmp, "grub-mkimage-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for grub-mkimage: %w", err)
	}
	defer os.RemoveAll(dir)
	boot, place := d.Boot(), GRUBPlace(d)
	if err := os.WriteFile(filepath.Join(dir, "load.cfg"), grub.LoadConfig(place), 0o644); err != nil {
		return nil, err
	}
	const inside = "/run/grub-mkimage"
	args := []string{
		"grub-mkimage", "-O", platform, "-d", GRUBModules(platform), "-c", inside + "/load.cfg", "-o",
		inside + "/core.img",
		"-p", grub.Prefix(d.Layout.Table, boot.Number, place.Dir),
	}
	args = append(args, grub.CoreModules(platform, boot.Filesystem.Type)...)
	if err := s.InTargetWith(ctx, []specs.Mount{target.Bind(dir, inside)}, "", args...); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "core.img"))
}

// GRUBModules returns the directory in which packages install the modules of a platform.
func GRUBModules(platform string) string { return "/usr/lib/grub/" + platform }

// platforms returns GRUB's names of the platforms to boot on.
func (l GRUB) platforms(d Disk) []string {
	var platforms []string
	if l.OnBIOS {
		platforms = append(platforms, grub.BIOSPlatform)
	}
	if l.onUEFI {
		platforms = append(platforms, grub.EFIPlatform(d.Arch))
	}
	if l.onUEFI && !l.OnBIOS && d.Arch == "amd64" && !d.OnlyEFI64 {
		// Some machines with 64-bit processors have 32-bit firmware.
		platforms = append(platforms, grub.EFIPlatform("i386"))
	}
	return platforms
}

// GRUBPlace returns the location of GRUB's directory.
func GRUBPlace(d Disk) grub.Place {
	return grub.Place{UUID: UUID(d.Boot().Filesystem), Dir: d.bootPrefix() + "/grub"}
}
