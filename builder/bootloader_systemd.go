package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/uki"
)

// systemdLoaderConfig has systemd-boot start the newest kernel after a second (loader.conf(5)).
const systemdLoaderConfig = "timeout 1\n"

// systemdBoot puts systemd-boot on the ESP as bootctl install does, and each kernel of the root file system as
// kernel-install does: as a unified kernel image, under the name that kernel-install looks for when the kernel goes.
func (a assembler) systemdBoot(d *Disk) (bootParts, error) {
	arch, _ := debian.LookupArch(d.Arch)
	program := d.systemdProgram("systemd-boot")
	loader, err := a.files.ReadFile(program)
	if errors.Is(err, fs.ErrNotExist) {
		return bootParts{}, fmt.Errorf("the image has no systemd-boot (package systemd-boot-efi): %w", err)
	}
	if err != nil {
		return bootParts{}, err
	}
	file := func(name string, data []byte) diskimage.Entry { return diskimage.FileEntry(name, 0o644, data, d.Time) }
	files := []diskimage.Entry{
		file("EFI/BOOT/"+strings.ToUpper(arch.EFI), loader),
		file("EFI/systemd/"+path.Base(program), loader),
		file("loader/loader.conf", []byte(systemdLoaderConfig)),
	}
	stub, err := a.files.ReadFile(d.systemdProgram("linux"))
	if err != nil {
		return bootParts{}, err
	}
	images, err := a.kernelImages(stub)
	if err != nil {
		return bootParts{}, err
	}
	for version, image := range images {
		files = append(files, file("EFI/Linux/"+d.entryToken()+"-"+version+".efi", image))
	}
	esp, _ := d.Layout.Partition(diskimage.RoleESP)
	return bootParts{files: map[int][]diskimage.Entry{esp.Number: files}}, nil
}

// systemdProgram is where the package systemd-boot-efi has a program: "systemd-boot", or "linux", the stub of kernel images.
func (d Disk) systemdProgram(name string) string {
	arch, _ := debian.LookupArch(d.Arch)
	suffix := strings.TrimPrefix(arch.EFI, "boot")
	if name == "linux" {
		suffix += ".stub"
	}
	return "/usr/lib/systemd/boot/efi/" + name + suffix
}

// kernelImages makes a unified kernel image of each kernel in /boot, by version.
func (a assembler) kernelImages(stub []byte) (map[string][]byte, error) {
	kernels, err := bootFiles(a.files, "vmlinuz-", "vmlinux-")
	if err != nil || len(kernels) == 0 {
		return nil, err
	}
	parts := uki.Parts{Stub: stub}
	arguments, err := a.files.ReadFile(kernelArgumentsFile)
	if err != nil {
		return nil, err
	}
	parts.CommandLine = strings.TrimSpace(string(arguments))
	if parts.OSRelease, err = a.files.ReadFile("/usr/lib/os-release"); err != nil {
		return nil, err
	}
	images := map[string][]byte{}
	for _, kernel := range kernels {
		_, parts.Version, _ = strings.Cut(kernel, "-")
		if parts.Kernel, err = a.files.ReadFile("/boot/" + kernel); err != nil {
			return nil, err
		}
		parts.Initrd, err = a.files.ReadFile("/boot/initrd.img-" + parts.Version)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if images[parts.Version], err = uki.Assemble(parts); err != nil {
			return nil, fmt.Errorf("unified kernel image of %s: %w", kernel, err)
		}
	}
	return images, nil
}

// entryToken begins the names of the kernels of this system on the ESP. kernel-install would take the machine ID, which
// an image does not have.
func (d Disk) entryToken() string { return strings.ToLower(string(d.Vendor)) }
