package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
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
func (r *Result) bootLoader(ctx context.Context, d *Disk) (bootParts, error) {
	switch d.Loader {
	case loaderExtlinux:
		return r.extlinux(d)
	case loaderGrubBIOS, loaderGrubEFI, loaderGrubHybrid:
		return r.grub(ctx, d)
	default:
		return bootParts{}, nil
	}
}

// extlinux takes syslinux from the toolbox: as since 1.0, the image need not have the package.
func (r *Result) extlinux(d *Disk) (bootParts, error) {
	program, err := r.Toolbox.ReadFile("/usr/bin/extlinux")
	if err != nil {
		return bootParts{}, err
	}
	loader, err := syslinux.Extract(program)
	if err != nil {
		return bootParts{}, err
	}
	module, err := r.Toolbox.ReadFile("/usr/lib/syslinux/modules/bios/ldlinux.c32")
	if err != nil {
		return bootParts{}, err
	}
	config, err := r.extlinuxConfig(d)
	if err != nil {
		return bootParts{}, err
	}
	var mbr []byte
	if d.MBR {
		name := "mbr.bin"
		if d.Layout.Table == diskimage.GPT {
			name = "gptmbr.bin"
		}
		if mbr, err = r.Toolbox.ReadFile("/usr/lib/syslinux/mbr/" + name); err != nil {
			return bootParts{}, err
		}
	}
	part := d.boot()
	files := []diskimage.Entry{
		diskimage.FileEntry("ldlinux.sys", 0o444, loader.File(), d.Time),
		diskimage.FileEntry("ldlinux.c32", 0o444, module, d.Time),
	}
	if config != nil {
		files = append(files, diskimage.FileEntry("extlinux.conf", 0o644, config, d.Time))
	}
	patches := func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error) {
		extents, err := volumes[part.Number].Extents("ldlinux.sys")
		if err != nil {
			return nil, err
		}
		patches, file, err := loader.Install(syslinux.Placement{
			StartLBA: part.StartLBA(), Sectors: part.Sectors(), File: extents, Directory: "/",
			FAT: part.Filesystem.Type == "vfat",
		})
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

// extlinuxConfig names the kernel by Debian's links where they are on the same file system, so that the configuration
// holds for the kernels of later upgrades too. Without a kernel there is no configuration.
func (r *Result) extlinuxConfig(d *Disk) ([]byte, error) {
	kernel, initrd, err := r.newestKernel()
	if err != nil || kernel == "" {
		return nil, err
	}
	if d.boot().Number == d.root().Number {
		if kernel, initrd, err = r.kernelLinks(kernel, initrd); err != nil {
			return nil, err
		}
	}
	config := syslinux.Config{Kernel: "/" + kernel, Append: "root=UUID=" + fstabUUID(d.root().Filesystem) + " ro"}
	if initrd != "" {
		config.Initrd = "/" + initrd
	}
	if d.Serial != "" {
		config.SerialBaud = serialBaud
		config.Append += fmt.Sprintf(" console=tty0 console=%s,%d", d.Serial, serialBaud)
	}
	return config.Bytes(), nil
}

// kernelLinks gives the paths of a kernel and its initramfs on the root file system: Debian's links if they are there
// (linux-update-symlinks keeps them on the newest kernel), else the files in /boot.
func (r *Result) kernelLinks(kernel, initrd string) (kernelPath, initrdPath string, err error) {
	kernelPath = "boot/" + kernel
	if initrd != "" {
		initrdPath = "boot/" + initrd
	}
	if there, err := exists(r.Rootfs, "/vmlinuz"); err != nil || !there {
		return kernelPath, initrdPath, err
	}
	if initrd == "" {
		return "vmlinuz", "", nil
	}
	if there, err := exists(r.Rootfs, "/initrd.img"); err != nil || !there {
		return kernelPath, initrdPath, err
	}
	return "vmlinuz", "initrd.img", nil
}

// newestKernel finds the kernel with the highest version in /boot, and its initramfs; "" if there is none.
func (r *Result) newestKernel() (kernel, initrd string, err error) {
	kernels, err := bootFiles(r.Rootfs, "vmlinuz-", "vmlinux-")
	if err != nil || len(kernels) == 0 {
		return "", "", err
	}
	version := func(name string) string {
		_, v, _ := strings.Cut(name, "-")
		return v
	}
	kernel = slices.MaxFunc(kernels, func(a, b string) int { return archive.CompareVersions(version(a), version(b)) })
	initrd = "initrd.img-" + version(kernel)
	if there, err := exists(r.Rootfs, "/boot/"+initrd); err != nil || !there {
		return kernel, "", err
	}
	return kernel, initrd, nil
}
