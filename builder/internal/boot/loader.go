// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"io/fs"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Loader is a boot loader of an image. The table bootLoaders has one value for each --boot option.
type Loader interface {
	// String returns the name for messages: "GRUB for BIOS and UEFI".
	String() string
	// BIOS reports whether a BIOS starts it, with boot code in sector 0.
	BIOS() bool
	// UEFI reports whether UEFI firmware starts it, from an EFI system partition.
	UEFI() bool
	// Check returns the problems of a request with this loader, except those with a rule of their own.
	Check(r Request) []error
	// Packages returns the packages to install in the root file system.
	Packages(r Request) []string
	// Answers returns answers for debconf-set-selections(1), to be set before packages are installed.
	Answers() []string
	// espSize returns the default size of the EFI system partition.
	espSize(r Request) diskimage.Size
	// Partitions returns partitions to place before the others, in addition to the EFI system partition.
	Partitions(table diskimage.TableKind) []diskimage.PartitionRequest
	// LegacyBoot reports whether boot code looks for the partition of a GPT disk that has the legacy boot flag.
	LegacyBoot() bool
	// Claims returns the areas of boot code outside of partitions, as far as they are known before the build.
	Claims(d Disk) []diskimage.Claim
	// Steps returns the steps that configure the loader in a build, in which the target's programs run.
	Steps(d Disk) []step.Step
	// Configure does the same in an existing root file system, without running its programs.
	Configure(d Disk, f *target.Memory) error
	// Files returns the files that the loader needs from the root file system, as there is no other source.
	Files(d Disk) []LoaderFile
	// kernelNames returns the prefixes of the names of kernels in /boot.
	kernelNames() []string
	// WritesGrubenv reports whether the booted system writes to /boot/grub at each boot.
	WritesGrubenv() bool
	// Dense reports whether the loader cannot read files with holes in dir, on the partition with the kernels.
	Dense(dir string) bool
	// Prepare returns the files and the boot code for the disk.
	Prepare(ctx context.Context, d Disk, src Source) (Parts, error)
}

// Request holds the options that decide, before a build, whether and how an image can boot.
type Request struct {
	UseUEFI bool
	Arch    debian.Arch
	Release debian.Release
	// Image reports whether a disk image is written.
	Image      bool
	Table      diskimage.TableKind
	SectorSize diskimage.Size
	// ESPSize is the size of the EFI system partition, or 0 for the loader's default.
	ESPSize  diskimage.Size
	Bootsize diskimage.Size
	// Encrypted reports whether the root file system is encrypted.
	Encrypted bool
	// OwnDeviceTree reports whether the user's own device tree is used.
	OwnDeviceTree bool
	// Roottype and Boottype are the file system types of / and /boot.
	Roottype, Boottype string
}

// ESP returns the size of the EFI system partition.
func (r Request) ESP(l Loader) diskimage.Size {
	if r.ESPSize != 0 {
		return r.ESPSize
	}
	return l.espSize(r)
}

// SignedEFI reports whether the release has shim and GRUB signed for Secure Boot: Debian since buster, on i386 up to
// bookworm. Ubuntu's packages have other names and are not used.
func (r Request) SignedEFI() bool {
	if r.Release.Vendor != debian.Debian || !r.Release.Since("buster", "") {
		return false
	}
	switch r.Arch.Name {
	case "amd64", "arm64":
		return true
	case "i386":
		return !r.Release.Since("trixie", "")
	}
	return false
}

// Source provides the files of a boot loader.
type Source interface {
	// ReadFile reads a file of the root file system.
	ReadFile(name string) ([]byte, error)
	// ReadDir reads a directory of the root file system.
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyslinuxFile returns a file of the packages extlinux and syslinux-common, which the image does not need to
	// contain (since 1.0).
	SyslinuxFile(ctx context.Context, name string) ([]byte, error)
	// GRUBImage returns the part of GRUB that finds /boot/grub: core.img, or an EFI program.
	GRUBImage(ctx context.Context, d Disk, platform string) ([]byte, error)
}

// Parts are the files and the boot code that a boot loader adds to an image.
type Parts struct {
	// Files are the files to add, by partition number.
	Files map[int][]diskimage.Entry
	// Patches returns the data to write outside of files, or over them. The positions of all files are known then.
	Patches func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error)
}

// LoaderFile is a file that a boot loader needs from the root file system, and the Debian package with it.
type LoaderFile struct{ File, Pkg string }

// The values of --boot. Without it --extlinux, --grub and --use-uefi choose the loader.
const (
	WordNone        = "none"
	WordExtlinux    = "extlinux"
	WordGRUB        = "grub"
	WordHybrid      = "hybrid"
	WordSystemdBoot = "systemd-boot"
	WordUBoot       = "u-boot"
)

// bootLoaders maps the values of --boot to boot loaders, in the order of the help text.
var bootLoaders = []struct {
	word   string
	loader Loader
}{
	{WordNone, None{}},
	{WordExtlinux, Extlinux{}},
	{WordGRUB, GRUB{OnBIOS: true}},
	{WordHybrid, GRUB{OnBIOS: true, onUEFI: true}},
	{WordSystemdBoot, SystemdBoot{}},
	{WordUBoot, UBoot{}},
}

// Words returns the values of --boot, in the order of the help text.
func Words() []string {
	var words []string
	for _, l := range bootLoaders {
		words = append(words, l.word)
	}
	return words
}

// Choice are the options that choose a boot loader.
type Choice struct {
	Word                    string // --boot
	UseUEFI, Grub, Extlinux bool
	// PC reports whether machines of the architecture can have a BIOS.
	PC bool
}

// Choose returns the boot loader. --boot names it, and --use-uefi selects the kind of GRUB. Without --boot, UEFI needs
// GRUB, and GRUB replaces extlinux. extlinux is the default on PCs. On other machines the default is none;
// loaderNeedsBIOS rejects --boot=extlinux there.
func Choose(c Choice) Loader {
	i := slices.IndexFunc(bootLoaders, func(l struct {
		word   string
		loader Loader
	}) bool {
		return l.word == c.Word
	})
	switch {
	case i >= 0 && c.Word != WordGRUB:
		return bootLoaders[i].loader
	case c.UseUEFI:
		return GRUB{onUEFI: true}
	case c.Grub || c.Word == WordGRUB:
		return GRUB{OnBIOS: true}
	case c.Extlinux && c.PC:
		return Extlinux{}
	default:
		return None{}
	}
}

// commonLoader has the methods that most boot loaders share.
type commonLoader struct{}

func (commonLoader) BIOS() bool                       { return false }
func (commonLoader) UEFI() bool                       { return false }
func (commonLoader) Check(Request) []error            { return nil }
func (commonLoader) Packages(Request) []string        { return nil }
func (commonLoader) Answers() []string                { return nil }
func (commonLoader) espSize(r Request) diskimage.Size { return diskimage.FAT32From(r.SectorSize) }
func (commonLoader) LegacyBoot() bool                 { return false }
func (commonLoader) Claims(Disk) []diskimage.Claim    { return nil }
func (commonLoader) Files(Disk) []LoaderFile          { return nil }
func (commonLoader) kernelNames() []string            { return []string{"vmlinuz-", "vmlinux-"} }
func (commonLoader) WritesGrubenv() bool              { return false }
func (commonLoader) Dense(string) bool                { return false }

func (commonLoader) Partitions(diskimage.TableKind) []diskimage.PartitionRequest { return nil }

// bootCodeSize is the part of sector 0 that holds code.
const bootCodeSize = 440

// bootCode returns the claim of the boot code in sector 0.
func bootCode(l Loader) diskimage.Claim {
	return diskimage.Claim{Extent: diskimage.Extent{Length: bootCodeSize}, What: "boot code of " + l.String()}
}

// bootOutsideReadOnly returns a problem if /boot is on a read-only root file system: GRUB and extlinux change files
// there, and not all of their versions read such file systems.
func bootOutsideReadOnly(l Loader, r Request) []error {
	if !filesystem.Lookup(r.Roottype).ReadOnly || !r.Image || r.Bootsize > 0 {
		return nil
	}
	if r.UseUEFI {
		return problem.New("--roottype",
			"GRUB cannot boot from %s: use --boot=systemd-boot, or --boot=hybrid with --bootsize", r.Roottype)
	}
	return problem.New("--roottype",
		"%s cannot boot from %s: give /boot a partition of its own with --bootsize=256Mi, or use "+
			"--boot=systemd-boot", l, r.Roottype)
}

// bootOutsideEncrypted returns a problem if /boot is on an encrypted root file system: extlinux reads none, and GRUB
// none with Argon2.
func bootOutsideEncrypted(l Loader, r Request) []error {
	switch {
	case !r.Encrypted || !r.Image || r.Bootsize > 0:
		return nil
	case r.UseUEFI:
		return problem.New("--luks", "%s cannot read an encrypted /boot: use --boot=systemd-boot with --part-type=gpt, or "+
			"--boot=hybrid with --bootsize=512Mi", l)
	}
	return problem.New("--luks", "%s cannot read an encrypted /boot: give /boot a partition of its own with "+
		"--bootsize=512Mi, or use --boot=systemd-boot with --part-type=gpt", l)
}
