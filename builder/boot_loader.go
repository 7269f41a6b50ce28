package builder

import (
	"context"
	"io/fs"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// bootLoader is how an image starts. There is one value for each way, and a file for each boot loader.
type bootLoader interface {
	// String is what people read: "GRUB for BIOS and UEFI".
	String() string
	// bios reports whether code in sector 0, which a BIOS runs, starts it.
	bios() bool
	// uefi reports whether UEFI firmware starts it, from an EFI system partition.
	uefi() bool
	// check finds what in a request does not go with it; nothing that has a rule of its own.
	check(r bootRequest) []error
	// packages are the packages that the root file system needs.
	packages(r bootRequest) []string
	// answers are given to debconf before packages are installed.
	answers() []string
	// espSize is the length of the EFI system partition if the user gives none.
	espSize(r bootRequest) diskimage.Size
	// partitions come before the others, beside the EFI system partition.
	partitions(table diskimage.TableKind) []diskimage.PartitionRequest
	// legacyBoot reports whether the boot code of a GPT disk looks for a partition with that flag.
	legacyBoot() bool
	// claims are the places of boot code outside of partitions, as far as they are known before the build.
	claims(d bootDisk) []diskimage.Claim
	// steps are what the root file system needs in a build, where its programs run.
	steps(d bootDisk) []Step
	// configure does the same to a root file system that is there already, without its programs.
	configure(d bootDisk, f *treeFiles) error
	// files are those that it takes from the root file system and that cannot be got elsewhere.
	files(d bootDisk) []loaderFile
	// kernelNames are what names of kernels in /boot begin with.
	kernelNames() []string
	// writesGrubenv reports whether the booted system writes to /boot/grub at each start.
	writesGrubenv() bool
	// dense reports whether a file in a directory of the partition with the kernels must not have holes.
	dense(dir string) bool
	// prepare makes what goes on the disk.
	prepare(ctx context.Context, d bootDisk, src bootSource) (bootParts, error)
}

// bootRequest is what decides, before a build, whether and how an image can start.
type bootRequest struct {
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

// esp is the length of the EFI system partition.
func (r bootRequest) esp(l bootLoader) diskimage.Size {
	if r.ESPSize != 0 {
		return r.ESPSize
	}
	return l.espSize(r)
}

// signedEFI reports whether the release has shim and GRUB signed for Secure Boot: Debian since buster, on i386 up to
// bookworm. Ubuntu's, under other names, are not used.
func (r bootRequest) signedEFI() bool {
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

// bootSource is where a boot loader's files come from.
type bootSource interface {
	// ReadFile reads a file of the root file system.
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	// syslinuxFile gives a file of the packages extlinux and syslinux-common: as since 1.0, the image need not have them.
	syslinuxFile(ctx context.Context, name string) ([]byte, error)
	// grubImage gives the part of GRUB that finds /boot/grub: core.img, or an EFI program.
	grubImage(ctx context.Context, d bootDisk, platform string) ([]byte, error)
}

// bootParts is what a boot loader adds to an image.
type bootParts struct {
	// files are added to the partitions, by their number.
	files map[int][]diskimage.Entry
	// patches gives what is written outside of files, or over them, when the places of all files are known.
	patches func(volumes map[int]diskimage.Volume) ([]diskimage.Patch, error)
}

// loaderFile is a file that the boot loader takes from the root file system, and Debian's package with it.
type loaderFile struct{ file, pkg string }

// The values of --boot. Without it --extlinux, --grub and --use-uefi choose, as they always have.
const (
	bootNone     = "none"
	bootExtlinux = "extlinux"
	bootGrub     = "grub"
	bootHybrid   = "hybrid"
	bootSystemd  = "systemd-boot"
)

// bootLoaders are the boot loaders by the values of --boot, in the order of its help.
var bootLoaders = []struct {
	word   string
	loader bootLoader
}{
	{bootNone, noLoader{}},
	{bootExtlinux, extlinux{}},
	{bootGrub, grubLoader{onBIOS: true}},
	{bootHybrid, grubLoader{onBIOS: true, onUEFI: true}},
	{bootSystemd, systemdBoot{}},
}

// bootWords are the values of --boot, in the order of its help.
func bootWords() []string {
	var words []string
	for _, l := range bootLoaders {
		words = append(words, l.word)
	}
	return words
}

// BootLoaders lists the values of --boot.
func BootLoaders() []string { return bootWords() }

// bootChoice are the options that choose a boot loader.
type bootChoice struct {
	Word                    string // --boot
	UseUEFI, Grub, Extlinux bool
	// PC: machines of the architecture can have a BIOS.
	PC bool
}

// chooseLoader applies the rules: --boot names the loader, and --use-uefi says which GRUB; without --boot UEFI needs
// GRUB, and GRUB replaces extlinux. extlinux, which is on by default, is for PCs: on other machines it is nothing unless
// --boot names it, which loaderNeedsBIOS refuses.
func chooseLoader(c bootChoice) bootLoader {
	i := slices.IndexFunc(bootLoaders, func(l struct {
		word   string
		loader bootLoader
	}) bool {
		return l.word == c.Word
	})
	switch {
	case i >= 0 && c.Word != bootGrub:
		return bootLoaders[i].loader
	case c.UseUEFI:
		return grubLoader{onUEFI: true}
	case c.Grub || c.Word == bootGrub:
		return grubLoader{onBIOS: true}
	case c.Extlinux && c.PC:
		return extlinux{}
	default:
		return noLoader{}
	}
}

// commonLoader is what most boot loaders have in common.
type commonLoader struct{}

func (commonLoader) bios() bool                                                  { return false }
func (commonLoader) uefi() bool                                                  { return false }
func (commonLoader) check(bootRequest) []error                                   { return nil }
func (commonLoader) packages(bootRequest) []string                               { return nil }
func (commonLoader) answers() []string                                           { return nil }
func (commonLoader) espSize(r bootRequest) diskimage.Size                        { return diskimage.FAT32From(r.SectorSize) }
func (commonLoader) partitions(diskimage.TableKind) []diskimage.PartitionRequest { return nil }
func (commonLoader) legacyBoot() bool                                            { return false }
func (commonLoader) claims(bootDisk) []diskimage.Claim                           { return nil }
func (commonLoader) files(bootDisk) []loaderFile                                 { return nil }
func (commonLoader) kernelNames() []string                                       { return []string{"vmlinuz-", "vmlinux-"} }
func (commonLoader) writesGrubenv() bool                                         { return false }
func (commonLoader) dense(string) bool                                           { return false }

// bootCodeSize is the part of sector 0 that holds code.
const bootCodeSize = 440

// bootCode is the claim of code in sector 0.
func bootCode(l bootLoader) diskimage.Claim {
	return diskimage.Claim{Extent: diskimage.Extent{Length: bootCodeSize}, What: "boot code of " + l.String()}
}

// bootOutsideReadOnly: GRUB and extlinux change files in /boot, and not all versions of them read file systems that never
// change.
func bootOutsideReadOnly(l bootLoader, r bootRequest) []error {
	if !filesystem.Lookup(r.Roottype).ReadOnly || !r.Image || r.Bootsize > 0 {
		return nil
	}
	if r.UseUEFI {
		return problem("--roottype", "GRUB cannot boot from %s: use --boot=systemd-boot, or --boot=hybrid with --bootsize", r.Roottype)
	}
	return problem("--roottype", "%s cannot boot from %s: give /boot a partition of its own with --bootsize=256Mi, or use "+
		"--boot=systemd-boot", l, r.Roottype)
}
