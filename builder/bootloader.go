package builder

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// serialBaud is the speed of --serial-console, that of the kernel's argument and of the getty.
const serialBaud = 115200

// bootParts is what a boot loader adds to an image.
type bootParts struct {
	// files are added to the partitions, by their number.
	files map[int][]diskimage.Entry
	// patches gives what is written outside of files, or over them, when the places of all files are known.
	patches func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error)
}

// bootLoader prepares the disk's boot loader.
func (a assembler) bootLoader(ctx context.Context, d *Disk) (bootParts, error) {
	switch d.Loader {
	case loaderExtlinux:
		return a.extlinux(ctx, d)
	case loaderGrubBIOS, loaderGrubEFI, loaderGrubHybrid:
		return a.grub(ctx, d)
	case loaderSystemdBoot:
		return a.systemdBoot(d)
	default:
		return bootParts{}, nil
	}
}
