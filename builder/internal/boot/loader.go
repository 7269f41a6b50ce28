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

// Loader is how an image starts. There is one value for each way, and a file for each boot loader.
type Loader interface {
	// String is what people read: "GRUB for BIOS and UEFI".
	String() string
	// BIOS reports whether code in sector 0, which a BIOS runs, starts it.
	BIOS() bool
	// UEFI reports whether UEFI firmware starts it, from an EFI system partition.
	UEFI() bool
	// Check finds what in a request does not go with it; nothing that has a rule of its own.
	Check(r Request) []error
	// Packages are the packages that the root file system needs.
	Packages(r Request) []string
	// Answers are given to debconf before packages are installed.
	Answers() []string
	// espSize is the length of the EFI system partition if the user gives none.
	espSize(r Request) diskimage.Size
	// Partitions come before the others, beside the EFI system partition.
	Partitions(table diskimage.TableKind) []diskimage.PartitionRequest
	// LegacyBoot reports whether the boot code of a GPT disk looks for a partition with that flag.
	LegacyBoot() bool
	// Claims are the places of boot code outside of partitions, as far as they are known before the build.
	Claims(d Disk) []diskimage.Claim
	// Steps are what the root file system needs in a build, where its programs run.
	Steps(d Disk) []step.Step
	// Configure does the same to a root file system that is there already, without its programs.
	Configure(d Disk, f *target.Memory) error
	// Files are those that it takes from the root file system and that cannot be got elsewhere.
	Files(d Disk) []LoaderFile
	// kernelNames are what names of kernels in /boot begin with.
	kernelNames() []string
	// WritesGrubenv reports whether the booted system writes to /boot/grub at each start.
	WritesGrubenv() bool
	// Dense reports whether a file in a directory of the partition with the kernels must not have holes.
	Dense(dir string) bool
	// Prepare makes what goes on the disk.
	Prepare(ctx context.Context, d Disk, src Source) (Parts, error)
}

// Request is what decides, before a build, whether and how an image can start.
type Request struct {
	UseUEFI bool
	Arch    debian.Arch
	Release debian.Release
	// Image says that a disk is written.
	Image      bool
	Table      diskimage.TableKind
	SectorSize diskimage.Size
	// ESPSize is 0 if the loader is to choose.
	ESPSize  diskimage.Size
	Bootsize diskimage.Size
	// Roottype and Boottype are types of file systems.
	Roottype, Boottype string
}

// ESP is the length of the EFI system partition.
func (r Request) ESP(l Loader) diskimage.Size {
	if r.ESPSize != 0 {
		return r.ESPSize
	}
	return l.espSize(r)
}

// SignedEFI reports whether the release has shim and GRUB signed for Secure Boot: Debian since buster, on i386 up to
// bookworm. Ubuntu's, under other names, are not used.
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

// Source is where a boot loader's files come from.
type Source interface {
	// ReadFile reads a file of the root file system.
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyslinuxFile gives a file of the packages extlinux and syslinux-common: as since 1.0, the image need
	// not have them.
	SyslinuxFile(ctx context.Context, name string) ([]byte, error)
	// GRUBImage gives the part of GRUB that finds /boot/grub: core.img, or an EFI program.
	GRUBImage(ctx context.Context, d Disk, platform string) ([]byte, error)
}

// Parts is what a boot loader adds to an image.
type Parts struct {
	// Files are added to the partitions, by their number.
	Files map[int][]diskimage.Entry
	// Patches gives what is written outside of files, or over them, when the places of all files are known.
	Patches func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error)
}

// LoaderFile is a file that the boot loader takes from the root file system, and Debian's package with it.
type LoaderFile struct{ File, Pkg string }

// The values of --boot. Without it --extlinux, --grub and --use-uefi choose, as they always have.
const (
	WordNone        = "none"
	WordExtlinux    = "extlinux"
	WordGRUB        = "grub"
	WordHybrid      = "hybrid"
	WordSystemdBoot = "systemd-boot"
)

// bootLoaders are the boot loaders by the values of --boot, in the order of its help.
var bootLoaders = []struct {
	word   string
	loader Loader
}{
	{WordNone, None{}},
	{WordExtlinux, Extlinux{}},
	{WordGRUB, GRUB{OnBIOS: true}},
	{WordHybrid, GRUB{OnBIOS: true, onUEFI: true}},
	{WordSystemdBoot, SystemdBoot{}},
}

// Words are the values of --boot, in the order of its help.
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
	// PC: machines of the architecture can have a BIOS.
	PC bool
}

// Choose applies the rules: --boot names the loader, and --use-uefi says which GRUB; without --boot UEFI
// needs GRUB, and GRUB replaces extlinux. extlinux, which is on by default, is for PCs: on other machines it
// is nothing unless --boot names it, which loaderNeedsBIOS refuses.
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

// commonLoader is what most boot loaders have in common.
type commonLoader struct{}

func (commonLoader) BIOS() bool                { return false }
func (commonLoader) UEFI() bool                { return false }
func (commonLoader) Check(Request) []error     { return nil }
func (commonLoader) Packages(Request) []string { return nil }
func (commonLoader) Answers() []string         { return nil }
func (commonLoader) espSize(
	r Request) diskimage.Size {
	return diskimage.FAT32From(r.SectorSize)
}
func (commonLoader) Partitions(diskimage.TableKind) []diskimage.PartitionRequest { return nil }
func (commonLoader) LegacyBoot() bool                                            { return false }
func (commonLoader) Claims(Disk) []diskimage.Claim                               { return nil }
func (commonLoader) Files(Disk) []LoaderFile                                     { return nil }
func (commonLoader) kernelNames() []string {
	return []string{"vmlinuz-",
		"vmlinux-"}
}
func (commonLoader) WritesGrubenv() bool { return false }
func (commonLoader) Dense(string) bool   { return false }

// bootCodeSize is the part of sector 0 that holds code.
const bootCodeSize = 440

// bootCode is the claim of code in sector 0.
func bootCode(l Loader) diskimage.Claim {
	return diskimage.Claim{Extent: diskimage.Extent{Length: bootCodeSize}, What: "boot code of " + l.String()}
}

// bootOutsideReadOnly: GRUB and extlinux change files in /boot, and not all versions of them read file
// systems that never change.
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
