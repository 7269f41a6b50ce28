// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"debug/elf"
	"slices"
)

// Arch is an architecture of Debian with the properties that a build needs.
type Arch struct {
	Name string // the name that dpkg uses
	// Triplet names the directory of its libraries: "x86_64-linux-gnu".
	Triplet string
	// Qemu is the suffix of the qemu-user emulator, as in qemu-aarch64; empty if there is none.
	Qemu string
	// QemuCPU is the processor that it should emulate, in the form of qemu's option -cpu; empty for its default.
	QemuCPU string
	// ELF identifies its programs by Class, Data and Machine.
	ELF elf.FileHeader
	// Serial is the kernel's name for the first serial port on machines (or the QEMU board) of this architecture.
	Serial string
	// EFI is the name that firmware looks for on a removable disk, "bootx64.efi"; empty where --use-uefi is
	// not supported.
	EFI string
	// EFIPackages are the boot loader packages for --use-uefi. The first one with "-signed" appended is the package
	// for Secure Boot.
	EFIPackages []string
	// PC reports whether machines have a BIOS, so that grub-pc and extlinux can boot them.
	PC bool
	// RunsOn lists other architectures whose processors run its programs.
	RunsOn []string
	// kernels lists the default kernel packages of Debian, oldest first; the last entry applies to all later releases.
	kernels []kernelSince
	// ubuntu are the releases of Ubuntu with this architecture; nil for none.
	ubuntu *ubuntuReleases
}

// ubuntuReleases are the first and the last release of Ubuntu with an architecture, and the last with its kernel. An
// empty last stands for all later ones. The archives of releases before precise are signed by a key too weak to be
// trusted, so that precise stands for them as well.
type ubuntuReleases struct{ since, last, lastKernel string }

// kernelSince says that the kernel package is linux-image-FLAVOUR since a Debian release. If flavour is empty, there is
// no kernel package any more.
type kernelSince struct{ codename, flavour string }

// first is Debian's first release. It marks kernel packages that never changed their name.
const first = "buzz"

// firstUbuntu is the first release in the table of Ubuntu's architectures.
const firstUbuntu = "precise"

// arches lists the Linux architectures of Debian and Debian Ports. The kernel flavours of bookworm, trixie
// and forky come from the archive's Packages files of November 2026, older ones from the linux source package
// of each release.
var arches = []Arch{
	{
		Name: "amd64", Triplet: "x86_64-linux-gnu", Qemu: "x86_64", ELF: le64(elf.EM_X86_64), Serial: "ttyS0",
		EFI: "bootx64.efi", PC: true,
		// The second package is for the 32-bit firmware of some small machines with 64-bit processors.
		EFIPackages: []string{"grub-efi-amd64", "grub-efi-ia32-bin"},
		kernels:     []kernelSince{{first, "amd64"}},
		ubuntu:      &ubuntuReleases{since: "precise"},
	},
	{
		Name: "i386", Triplet: "i386-linux-gnu", Qemu: "i386", ELF: le32(elf.EM_386), Serial: "ttyS0",
		EFI: "bootia32.efi", PC: true,
		EFIPackages: []string{"grub-efi-ia32"},
		RunsOn:      []string{"amd64"},
		kernels:     []kernelSince{{first, "486"}, {"jessie", "586"}, {"stretch", "686"}, {"trixie", ""}},
		ubuntu:      &ubuntuReleases{since: "precise", lastKernel: "disco"},
	},
	{
		Name: "arm64", Triplet: "aarch64-linux-gnu", Qemu: "aarch64", ELF: le64(elf.EM_AARCH64), Serial: "ttyAMA0",
		// Since trixie each function signs its return address, on processors that can. In QEMU 10 that takes half of
		// the time of dash (6.6 s with, 3.8 s without, for a loop) and a third of perl's.
		QemuCPU:     "max,pauth=off",
		EFI:         "bootaa64.efi",
		EFIPackages: []string{"grub-efi-arm64"},
		kernels:     []kernelSince{{first, "arm64"}},
		ubuntu:      &ubuntuReleases{since: "saucy"},
	},
	{
		Name: "armel", Triplet: "arm-linux-gnueabi", Qemu: "arm", ELF: le32(elf.EM_ARM), Serial: "ttyAMA0",
		kernels: []kernelSince{{first, "versatile"}, {"stretch", "marvell"}, {"trixie", "rpi"}, {"forky", ""}},
		ubuntu:  &ubuntuReleases{since: "precise", last: "quantal"},
	},
	{
		Name: "armhf", Triplet: "arm-linux-gnueabihf", Qemu: "arm", ELF: le32(elf.EM_ARM), Serial: "ttyAMA0",
		EFI:         "bootarm.efi",
		EFIPackages: []string{"grub-efi-arm"},
		kernels:     []kernelSince{{first, "vexpress"}, {"jessie", "armmp"}},
		ubuntu:      &ubuntuReleases{since: "precise"},
	},
	{
		Name: "ppc64el", Triplet: "powerpc64le-linux-gnu", Qemu: "ppc64le", ELF: le64(elf.EM_PPC64), Serial: "hvc0",
		kernels: []kernelSince{{first, "powerpc64le"}},
		ubuntu:  &ubuntuReleases{since: "trusty"},
	},
	{
		Name: "s390x", Triplet: "s390x-linux-gnu", Qemu: "s390x", ELF: be64(elf.EM_S390), Serial: "ttysclp0",
		kernels: []kernelSince{{first, "s390x"}},
		ubuntu:  &ubuntuReleases{since: "xenial"},
	},
	{
		Name: "riscv64", Triplet: "riscv64-linux-gnu", Qemu: "riscv64", ELF: le64(elf.EM_RISCV), Serial: "ttyS0",
		EFI:         "bootriscv64.efi",
		EFIPackages: []string{"grub-efi-riscv64"},
		kernels:     []kernelSince{{first, "riscv64"}},
		ubuntu:      &ubuntuReleases{since: "focal"},
	},
	{
		Name: "loong64", Triplet: "loongarch64-linux-gnu", Qemu: "loongarch64", ELF: le64(elf.EM_LOONGARCH),
		Serial:  "ttyS0",
		kernels: []kernelSince{{first, "loong64"}},
	},
	{
		Name: "mips", Triplet: "mips-linux-gnu", Qemu: "mips", ELF: be32(elf.EM_MIPS), Serial: "ttyS0",
		kernels: []kernelSince{{first, "4kc-malta"}},
	},
	{
		Name: "mipsel", Triplet: "mipsel-linux-gnu", Qemu: "mipsel", ELF: le32(elf.EM_MIPS), Serial: "ttyS0",
		kernels: []kernelSince{{first, "4kc-malta"}},
	},
	{
		Name: "mips64el", Triplet: "mips64el-linux-gnuabi64", Qemu: "mips64el", ELF: le64(elf.EM_MIPS), Serial: "ttyS0",
		kernels: []kernelSince{{first, "5kc-malta"}},
	},
	{
		Name: "powerpc", Triplet: "powerpc-linux-gnu", Qemu: "ppc", ELF: be32(elf.EM_PPC), Serial: "ttyPZ0",
		kernels: []kernelSince{{first, "powerpc"}},
		ubuntu:  &ubuntuReleases{since: "precise", last: "yakkety"},
	},
	{
		Name: "ppc64", Triplet: "powerpc64-linux-gnu", Qemu: "ppc64", ELF: be64(elf.EM_PPC64), Serial: "hvc0",
		kernels: []kernelSince{{first, "powerpc64"}},
	},
	{
		Name: "alpha", Triplet: "alpha-linux-gnu", Qemu: "alpha", ELF: le64(elf.EM_ALPHA), Serial: "ttyS0",
		kernels: []kernelSince{{first, "alpha-generic"}},
	},
	{
		Name: "hppa", Triplet: "hppa-linux-gnu", Qemu: "hppa", ELF: be32(elf.EM_PARISC), Serial: "ttyS0",
		kernels: []kernelSince{{first, "parisc"}},
	},
	{
		Name: "ia64", Triplet: "ia64-linux-gnu", ELF: le64(elf.EM_IA_64), Serial: "ttyS0",
		kernels: []kernelSince{{first, "itanium"}},
	},
	{
		Name: "m68k", Triplet: "m68k-linux-gnu", Qemu: "m68k", ELF: be32(elf.EM_68K), Serial: "ttyS0",
		kernels: []kernelSince{{first, "m68k"}},
	},
	{
		Name: "sh4", Triplet: "sh4-linux-gnu", Qemu: "sh4", ELF: le32(elf.EM_SH), Serial: "ttySC0",
		kernels: []kernelSince{{first, "sh7751r"}},
	},
	{
		Name: "sparc", Triplet: "sparc-linux-gnu", Qemu: "sparc32plus", ELF: be32(elf.EM_SPARC32PLUS), Serial: "ttyS0",
		kernels: []kernelSince{{first, "sparc64"}},
	},
	{
		Name: "sparc64", Triplet: "sparc64-linux-gnu", Qemu: "sparc64", ELF: be64(elf.EM_SPARCV9), Serial: "ttyS0",
		kernels: []kernelSince{{first, "sparc64"}},
	},
	{
		Name: "x32", Triplet: "x86_64-linux-gnux32", Qemu: "", ELF: le32(elf.EM_X86_64), Serial: "ttyS0", PC: true,
		RunsOn:  []string{"amd64"},
		kernels: []kernelSince{{first, "amd64"}},
	},
}

// These functions return ELF headers by byte order and word size.
func le32(m elf.Machine) elf.FileHeader { return elfHeader(elf.ELFCLASS32, elf.ELFDATA2LSB, m) }
func be32(m elf.Machine) elf.FileHeader { return elfHeader(elf.ELFCLASS32, elf.ELFDATA2MSB, m) }
func le64(m elf.Machine) elf.FileHeader { return elfHeader(elf.ELFCLASS64, elf.ELFDATA2LSB, m) }
func be64(m elf.Machine) elf.FileHeader { return elfHeader(elf.ELFCLASS64, elf.ELFDATA2MSB, m) }

func elfHeader(class elf.Class, data elf.Data, m elf.Machine) elf.FileHeader {
	return elf.FileHeader{Class: class, Data: data, Machine: m}
}

// LookupArch returns the architecture with the given Debian name.
func LookupArch(name string) (Arch, bool) {
	i := slices.IndexFunc(arches, func(a Arch) bool { return a.Name == name })
	if i < 0 {
		return Arch{}, false
	}
	return arches[i], true
}

// Arches returns all known architectures. They share their slices with the table: do not modify them.
func Arches() []Arch { return slices.Clone(arches) }

// ArchOf returns the first architecture whose programs have the Class, Data and Machine of h.
func ArchOf(h elf.FileHeader) (Arch, bool) {
	i := slices.IndexFunc(arches, func(a Arch) bool { return a.Runs(h) })
	if i < 0 {
		return Arch{}, false
	}
	return arches[i], true
}

// Runs reports whether programs of the architecture have the Class, Data and Machine of h.
func (a Arch) Runs(h elf.FileHeader) bool { return a.ELF == elfHeader(h.Class, h.Data, h.Machine) }

// NativeOn reports whether a host of the given Debian architecture runs its programs without an emulator.
func (a Arch) NativeOn(host string) bool {
	return a.Name == host || slices.Contains(a.RunsOn, host)
}

// In reports whether a release has the architecture, as far as that is known without its archive: Debian's releases
// have all.
func (a Arch) In(r Release) bool {
	if r.Vendor != Ubuntu {
		return true
	}
	return a.ubuntu != nil && (r.Since("", a.ubuntu.since) || a.ubuntu.since == firstUbuntu) && r.upTo(a.ubuntu.last)
}

// ArchesIn returns the names of the architectures of a release, sorted.
func ArchesIn(r Release) []string {
	var names []string
	for _, a := range arches {
		if a.In(r) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// KernelPackage returns the default kernel package of the architecture in a release, or "" if there is none.
func (a Arch) KernelPackage(r Release) string {
	if r.Vendor == Ubuntu {
		if a.ubuntu == nil || !r.upTo(a.ubuntu.lastKernel) {
			return ""
		}
		return "linux-image-generic"
	}
	flavour := ""
	for _, k := range a.kernels {
		if r.Since(k.codename, "") {
			flavour = k.flavour
		}
	}
	if flavour == "" {
		return ""
	}
	return "linux-image-" + flavour
}
