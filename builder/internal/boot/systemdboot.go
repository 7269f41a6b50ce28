// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/uki"
)

// SystemdBoot installs systemd-boot and unified kernel images on the EFI system partition.
type SystemdBoot struct{ commonLoader }

// String implements Loader.
func (SystemdBoot) String() string { return "systemd-boot" }

// UEFI implements Loader.
func (SystemdBoot) UEFI() bool { return true }

func (SystemdBoot) espSize(Request) diskimage.Size { return systemdBootESP }

// Packages implements Loader. The packages contain systemd-boot and systemd-stub, the programs that update both on the
// EFI system partition, and kernel-install with ukify, which make unified kernel images of kernels installed later.
func (SystemdBoot) Packages(Request) []string {
	return []string{"dosfstools", "systemd-boot", "systemd-boot-efi", "systemd-ukify"}
}

// Files implements Loader.
func (SystemdBoot) Files(d Disk) []LoaderFile {
	var all []LoaderFile
	for _, name := range []string{"systemd-boot", "linux"} {
		all = append(all, LoaderFile{strings.TrimPrefix(systemdProgram(d, name), "/"), "systemd-boot-efi"})
	}
	return all
}

func (SystemdBoot) step(d Disk) step.SystemdBoot {
	return step.SystemdBoot{EntryToken: d.vendorDir(), Arguments: d.kernelArguments(), Slots: d.Slots != nil}
}

// Steps implements Loader.
func (l SystemdBoot) Steps(d Disk) []step.Step { return []step.Step{l.step(d)} }

// Configure implements Loader.
func (l SystemdBoot) Configure(d Disk, f *target.Memory) error {
	if err := removeRootArguments(f); err != nil {
		return err
	}
	return l.step(d).Write(f)
}

// systemdBootArches are the architectures for which Debian has systemd-boot-efi and, since trixie, a kernel: i386 has
// the former only.
var systemdBootArches = []string{"amd64", "arm64", "armhf", "riscv64"}

const (
	// systemdBootESP has room for some ten kernels with an initramfs of 40 MB (trixie's linux-image-amd64).
	systemdBootESP = 512 * diskimage.MiB
	// minSystemdBootESP has room for one kernel and its successor.
	minSystemdBootESP = 128 * diskimage.MiB
)

// Check implements Loader. Bookworm has systemd-boot, but no program that makes unified kernel images, so the image's
// second kernel would not be one.
func (l SystemdBoot) Check(r Request) []error {
	var problems []error
	if r.Release.Vendor != debian.Debian || !r.Release.Since("trixie", "") {
		problems = append(problems,
			problem.New("--boot", "%s has no systemd-ukify for the kernels of later upgrades: choose %s for "+
				"Debian since trixie, or --boot=%s", r.Release.Codename, WordSystemdBoot, WordHybrid)...)
	}
	if r.Arch.Name != "" && r.Arch.EFI != "" && !slices.Contains(systemdBootArches, r.Arch.Name) {
		problems = append(problems, problem.New("--boot", "%s is not available for %s, which has no kernel in Debian since "+
			"trixie: use --grub with --use-uefi for an older release", WordSystemdBoot, r.Arch.Name)...)
	}
	if !r.Image {
		return problems
	}
	if r.Table != diskimage.GPT {
		problems = append(problems, problem.New("--part-type",
			"%s finds its partition only on a GPT disk: use --part-type=gpt", WordSystemdBoot)...)
	}
	if r.Bootsize > 0 {
		problems = append(problems, problem.New("--bootsize",
			"%s starts kernels from the EFI system partition: use --esp-size", WordSystemdBoot)...)
	}
	if r.ESP(l) < minSystemdBootESP {
		problems = append(problems, problem.New("--esp-size", "%s is too small for two kernels: at least %s needed",
			r.ESP(l), minSystemdBootESP)...)
	}
	return problems
}

// systemdLoaderConfig makes systemd-boot start the newest kernel after a second (loader.conf(5)).
const systemdLoaderConfig = "timeout 1\n"

// Prepare implements Loader. It puts systemd-boot on the ESP as "bootctl install" does, and the kernels of
// the root file system as kernel-install does: as unified kernel images, under the names that kernel-install
// looks for when it removes a kernel.
func (l SystemdBoot) Prepare(_ context.Context, d Disk, src Source) (Parts, error) {
	arch, _ := debian.LookupArch(d.Arch)
	program := systemdProgram(d, "systemd-boot")
	loader, err := src.ReadFile(program)
	if errors.Is(err, fs.ErrNotExist) {
		return Parts{}, fmt.Errorf("the image has no systemd-boot (package systemd-boot-efi): %w", err)
	}
	if err != nil {
		return Parts{}, err
	}
	if loader, err = d.sign(program, loader); err != nil {
		return Parts{}, err
	}
	file := func(name string, data []byte) diskimage.Entry { return diskimage.FileEntry(name, 0o644, data, d.Time) }
	files := []diskimage.Entry{
		file("EFI/BOOT/"+strings.ToUpper(arch.EFI), loader),
		file("EFI/systemd/"+path.Base(program), loader),
		file("loader/loader.conf", []byte(systemdLoaderConfig)),
	}
	stub, err := src.ReadFile(systemdProgram(d, "linux"))
	if err != nil {
		return Parts{}, err
	}
	images, err := l.kernelImages(d, src, stub)
	if err != nil {
		return Parts{}, err
	}
	if d.Slots != nil && len(images) != 1 {
		return Parts{}, fmt.Errorf("a version of an image has one kernel, and /boot has %d: %s", len(images),
			strings.Join(slices.Sorted(maps.Keys(images)), ", "))
	}
	for version, image := range images {
		files = append(files, file(d.kernelImage(version), image))
	}
	esp, _ := d.Layout.Partition(diskimage.RoleESP)
	return Parts{Files: map[int][]diskimage.Entry{esp.Number: files}}, nil
}

// kernelImage returns the name of a kernel's image on the ESP. That of an image with two slots is named by the version
// of the image, without a counter of tries: before an update there is no other one to go back to.
func (d Disk) kernelImage(version string) string {
	name := d.vendorDir() + "-" + version
	if d.Slots != nil {
		name = d.Slots.Label()
	}
	return KernelImageDir + "/" + name + ".efi"
}

// KernelImageDir is where systemd-boot looks for unified kernel images, on the ESP.
const KernelImageDir = "EFI/Linux"

// sign returns an EFI program with a signature if the disk's are signed.
func (d Disk) sign(name string, program []byte) ([]byte, error) {
	if d.Signer == nil {
		return program, nil
	}
	signed, err := d.Signer.Sign(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return signed, nil
}

// systemdProgram returns the path of a program in the package systemd-boot-efi: "systemd-boot", or "linux", the stub of
// kernel images.
func systemdProgram(d Disk, name string) string {
	arch, _ := debian.LookupArch(d.Arch)
	suffix := strings.TrimPrefix(arch.EFI, "boot")
	if name == "linux" {
		suffix += ".stub"
	}
	return "/usr/lib/systemd/boot/efi/" + name + suffix
}

// kernelImages returns a unified kernel image of each kernel in /boot, by version.
func (l SystemdBoot) kernelImages(d Disk, src Source, stub []byte) (map[string][]byte, error) {
	kernels, err := target.BootFiles(src, l.kernelNames()...)
	if err != nil || len(kernels) == 0 {
		return nil, err
	}
	parts := uki.Parts{Stub: stub}
	arguments, err := src.ReadFile(step.KernelArgumentsFile)
	if err != nil {
		return nil, err
	}
	parts.CommandLine = strings.TrimSpace(string(arguments))
	if d.RootHash != "" {
		parts.CommandLine += " roothash=" + d.RootHash
	}
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
			return nil, fmt.Errorf("make a unified kernel image of %s: %w", kernel, err)
		}
		if images[parts.Version], err = d.sign("the image of "+kernel, images[parts.Version]); err != nil {
			return nil, err
		}
	}
	return images, nil
}
