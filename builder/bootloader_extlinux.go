package builder

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// extlinux prepares syslinux. The configuration is in the root file system already, see extlinuxStep.
func (a assembler) extlinux(ctx context.Context, d *Disk) (bootParts, error) {
	program, err := a.programs.syslinuxFile(ctx, "/usr/bin/extlinux")
	if err != nil {
		return bootParts{}, err
	}
	loader, err := syslinux.Extract(program)
	if err != nil {
		return bootParts{}, err
	}
	module, err := a.programs.syslinuxFile(ctx, "/usr/lib/syslinux/modules/bios/ldlinux.c32")
	if err != nil {
		return bootParts{}, err
	}
	var mbr []byte
	if d.MBR {
		name := "mbr.bin"
		if d.Layout.Table == diskimage.GPT {
			name = "gptmbr.bin"
		}
		if mbr, err = a.programs.syslinuxFile(ctx, "/usr/lib/syslinux/mbr/"+name); err != nil {
			return bootParts{}, err
		}
	}
	part := d.boot()
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
			patches = append(patches, diskimage.Patch{Offset: int64(part.Start) + e.Offset, Data: file[:n], What: "ldlinux.sys"})
			file = file[n:]
		}
		if mbr == nil {
			return patches, nil
		}
		code, err := syslinux.MBRCode(mbr)
		return append(patches, code), err
	}
	return bootParts{files: map[int][]diskimage.Entry{part.Number: files}, patches: patches}, nil
}

func (r *Result) syslinuxFile(_ context.Context, name string) ([]byte, error) {
	return r.Toolbox.ReadFile(name)
}
