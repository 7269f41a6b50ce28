package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// grubBIOS has the target's own GRUB make a core.img: it must be of the version that the modules in /boot/grub are.
func (r *Result) grubBIOS(ctx context.Context, d *Disk) (bootParts, error) {
	const modules = "/usr/lib/grub/i386-pc"
	bootImage, err := r.Rootfs.ReadFile(modules + "/boot.img")
	if errors.Is(err, fs.ErrNotExist) {
		return bootParts{}, fmt.Errorf("the image has no GRUB for BIOS (package grub-pc): %w", err)
	}
	if err != nil {
		return bootParts{}, err
	}
	boot, place := d.boot(), d.grubPlace()
	// grub-mkimage seeks in its input and syncs its output, so pipes will not do.
	dir := filepath.Join(r.site.tmp, "grub-mkimage")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return bootParts{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "load.cfg"), grub.LoadConfig(place), 0o644); err != nil {
		return bootParts{}, err
	}
	const inside = "/run/grub-mkimage"
	args := []string{
		"grub-mkimage", "-O", "i386-pc", "-d", modules, "-c", inside + "/load.cfg", "-o", inside + "/core.img",
		"-p", grub.Prefix(d.Layout.Table, boot.Number, place.Dir),
	}
	args = append(args, grub.CoreModules(boot.Filesystem.Type)...)
	if err := r.site.inTargetWith(ctx, []specs.Mount{bind(dir, inside)}, "", args...); err != nil {
		return bootParts{}, err
	}
	core, err := os.ReadFile(filepath.Join(dir, "core.img"))
	if err != nil {
		return bootParts{}, err
	}
	at := grub.Embedding{CoreLBA: 1, Sectors: uint64(d.Layout.FirstStart()/diskimage.SectorSize) - 1}
	if p, ok := d.Layout.Partition(diskimage.RoleBIOSBoot); ok {
		at = grub.Embedding{CoreLBA: p.StartLBA(), Sectors: p.Sectors()}
	}
	patches, err := grub.EmbedBIOS(bootImage, core, at)
	return bootParts{patches: func(map[int]diskimage.Volume) ([]diskimage.Patch, error) { return patches, nil }}, err
}

// grubPlace is where GRUB finds its directory.
func (d Disk) grubPlace() grub.Place {
	boot := d.boot()
	if boot.Role == diskimage.RoleBoot {
		return grub.Place{UUID: fstabUUID(boot.Filesystem), Dir: "/grub"}
	}
	return grub.Place{UUID: fstabUUID(boot.Filesystem), Dir: "/boot/grub"}
}

// grubEFI copies GRUB's EFI programs from the target to the ESP.
func (r *Result) grubEFI(d *Disk) (bootParts, error) {
	signed, err := exists(r.Rootfs, "/usr/lib/shim/mmx64.efi.signed")
	if err != nil {
		return bootParts{}, err
	}
	list, err := grub.EFIFiles(d.Arch, signed && d.Arch == "amd64")
	if err != nil {
		return bootParts{}, err
	}
	config := grub.EFIConfig(d.grubPlace())
	files := []diskimage.Entry{
		diskimage.FileEntry("EFI/BOOT/grub.cfg", 0o644, config, d.Time),
		diskimage.FileEntry("EFI/debian/grub.cfg", 0o644, config, d.Time),
	}
	for _, f := range list {
		data, err := r.Rootfs.ReadFile("/" + f.From)
		if errors.Is(err, fs.ErrNotExist) {
			return bootParts{}, fmt.Errorf("the image has no GRUB for UEFI: %w", err)
		}
		if err != nil {
			return bootParts{}, err
		}
		files = append(files, diskimage.FileEntry(f.To, 0o644, bytes.Clone(data), d.Time))
	}
	esp, _ := d.Layout.Partition(diskimage.RoleESP)
	return bootParts{files: map[int][]diskimage.Entry{esp.Number: files}}, nil
}
