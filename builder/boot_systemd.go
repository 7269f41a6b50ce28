package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/uki"
)

// systemdBoot is systemd-boot with unified kernel images on the EFI system partition.
type systemdBoot struct{ commonLoader }

func (systemdBoot) String() string { return "systemd-boot" }

func (systemdBoot) uefi() bool { return true }

func (systemdBoot) espSize(bootRequest) diskimage.Size { return systemdBootESP }

// packages bring systemd-boot and systemd-stub, what renews both on the EFI system partition, and kernel-install with
// ukify, which make unified kernel images of the kernels that the booted system gets later.
func (systemdBoot) packages(bootRequest) []string {
	return []string{"dosfstools", "systemd-boot", "systemd-boot-efi", "systemd-ukify"}
}

func (systemdBoot) files(d bootDisk) []loaderFile {
	var all []loaderFile
	for _, name := range []string{"systemd-boot", "linux"} {
		all = append(all, loaderFile{strings.TrimPrefix(systemdProgram(d, name), "/"), "systemd-boot-efi"})
	}
	return all
}

func (systemdBoot) step(d bootDisk) systemdBootStep {
	return systemdBootStep{EntryToken: d.vendorDir(), Arguments: d.kernelArguments()}
}

func (l systemdBoot) steps(d bootDisk) []Step { return []Step{l.step(d)} }

func (l systemdBoot) configure(d bootDisk, f *treeFiles) error {
	if err := forgetRoot(f); err != nil {
		return err
	}
	return l.step(d).write(f)
}

// systemdBootArches are those whose systemd-stub is a 64-bit program.
var systemdBootArches = []string{"amd64", "arm64", "riscv64"}

const (
	// systemdBootESP has room for some ten kernels with an initramfs of 40 MB (trixie's linux-image-amd64).
	systemdBootESP = 512 * diskimage.MiB
	// leastSystemdBootESP has room for one kernel and its successor.
	leastSystemdBootESP = 128 * diskimage.MiB
)

// check: bookworm has a systemd-boot, but nothing that makes unified
// kernel images, so that its second kernel would not be one.
func (l systemdBoot) check(r bootRequest) []error {
	var problems []error
	if r.Release.Vendor != debian.Debian || !r.Release.Since("trixie", "") {
		problems = append(problems, problem("--boot", "%s has no systemd-ukify for the kernels of later upgrades: choose %s for "+
			"Debian since trixie, or --boot=%s", r.Release.Codename, bootSystemd, bootHybrid)...)
	}
	if r.Arch.Name != "" && r.Arch.EFI != "" && !slices.Contains(systemdBootArches, r.Arch.Name) {
		problems = append(problems, problem("--boot", "%s is not made for %s: use --grub with --use-uefi", bootSystemd, r.Arch.Name)...)
	}
	if !r.Image {
		return problems
	}
	if r.Table != diskimage.GPT {
		problems = append(problems, problem("--part-type", "%s finds its partition on a GPT disk only: use --part-type=gpt", bootSystemd)...)
	}
	if r.Bootsize > 0 {
		problems = append(problems, problem("--bootsize", "%s starts kernels from the EFI system partition: use --esp-size", bootSystemd)...)
	}
	if r.esp(l) < leastSystemdBootESP {
		problems = append(problems, problem("--esp-size", "%s is too small for two kernels: at least %s needed", r.esp(l), leastSystemdBootESP)...)
	}
	return problems
}

// systemdLoaderConfig has systemd-boot start the newest kernel after a second (loader.conf(5)).
const systemdLoaderConfig = "timeout 1\n"

// prepare puts systemd-boot on the ESP as bootctl install does, and each kernel of the root file system as
// kernel-install does: as a unified kernel image, under the name that kernel-install looks for when the kernel goes.
func (l systemdBoot) prepare(_ context.Context, d bootDisk, src bootSource) (bootParts, error) {
	arch, _ := debian.LookupArch(d.Arch)
	program := systemdProgram(d, "systemd-boot")
	loader, err := src.ReadFile(program)
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
	stub, err := src.ReadFile(systemdProgram(d, "linux"))
	if err != nil {
		return bootParts{}, err
	}
	images, err := l.kernelImages(src, stub)
	if err != nil {
		return bootParts{}, err
	}
	for version, image := range images {
		files = append(files, file("EFI/Linux/"+d.vendorDir()+"-"+version+".efi", image))
	}
	esp, _ := d.Layout.Partition(diskimage.RoleESP)
	return bootParts{files: map[int][]diskimage.Entry{esp.Number: files}}, nil
}

// systemdProgram is where the package systemd-boot-efi has a program: "systemd-boot", or "linux", the stub of kernel images.
func systemdProgram(d bootDisk, name string) string {
	arch, _ := debian.LookupArch(d.Arch)
	suffix := strings.TrimPrefix(arch.EFI, "boot")
	if name == "linux" {
		suffix += ".stub"
	}
	return "/usr/lib/systemd/boot/efi/" + name + suffix
}

// kernelImages makes a unified kernel image of each kernel in /boot, by version.
func (l systemdBoot) kernelImages(src bootSource, stub []byte) (map[string][]byte, error) {
	kernels, err := bootFiles(src, l.kernelNames()...)
	if err != nil || len(kernels) == 0 {
		return nil, err
	}
	parts := uki.Parts{Stub: stub}
	arguments, err := src.ReadFile(kernelArgumentsFile)
	if err != nil {
		return nil, err
	}
	parts.CommandLine = strings.TrimSpace(string(arguments))
	if parts.OSRelease, err = src.ReadFile("/usr/lib/os-release"); err != nil {
		return nil, err
	}
	images := map[string][]byte{}
	for _, kernel := range kernels {
		_, parts.Version, _ = strings.Cut(kernel, "-")
		if parts.Kernel, err = src.ReadFile("/boot/" + kernel); err != nil {
			return nil, err
		}
		parts.Initrd, err = src.ReadFile("/boot/initrd.img-" + parts.Version)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if images[parts.Version], err = uki.Assemble(parts); err != nil {
			return nil, fmt.Errorf("unified kernel image of %s: %w", kernel, err)
		}
	}
	return images, nil
}
