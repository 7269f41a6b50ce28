// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Firmware is the firmware of a machine.
type Firmware string

// The kinds of firmware.
const (
	BIOS       Firmware = "bios"       // SeaBIOS
	UEFI       Firmware = "uefi"       // without Secure Boot
	SecureBoot Firmware = "secureboot" // UEFI that starts only programs signed with Microsoft's keys
	UBoot      Firmware = "u-boot"     // which reads extlinux.conf, or starts EFI programs
)

// Firmwares returns the kinds of firmware.
func Firmwares() []string {
	return []string{string(BIOS), string(UEFI), string(SecureBoot), string(UBoot)}
}

// DefaultFirmware returns the firmware that machines of an architecture usually have.
func DefaultFirmware(arch string) Firmware {
	switch arch {
	case "arm64":
		return UEFI
	case "armhf", "riscv64":
		return UBoot
	}
	return BIOS
}

// Machine describes a virtual machine.
type Machine struct {
	Image  string
	Format string // QEMU's name of the image file's format; default raw
	// CD inserts the image into a CD drive, which cannot be written. Otherwise it is a disk.
	CD bool
	// SectorSize is the sector size of the disk; default 512 bytes. Firmware finds a partition
	// table only with the sector size it was written for.
	SectorSize int
	Arch       string // Debian name; default amd64
	// Firmware is the firmware; the default is DefaultFirmware.
	Firmware Firmware
	// Accel is QEMU's -accel. The default is software emulation, which is slow and always works.
	Accel string
	// Memory is in MiB; the default is 1024. The default of CPUs is 2, or 1 with software
	// emulation.
	Memory, CPUs int
	// Snapshot discards the machine's writes at its end.
	Snapshot bool
	// Graphics adds a screen, in a window of QEMU. Without one, SeaBIOS and boot sectors use the
	// serial line.
	Graphics bool
	// Network connects the machine to the network, through QEMU's own NAT.
	Network bool
	// SSHPort, if not 0, is a port of this host's loopback address that leads to the machine's port
	// 22. It needs Network.
	SSHPort int
	// Strings are OEM strings of the SMBIOS, by which systemd receives credentials (systemd(1)) and
	// its stub kernel arguments (systemd-stub(7)).
	Strings []string
	// Args are additional arguments for QEMU.
	Args []string
}

// MissingError reports that a program or a firmware is not installed.
type MissingError struct {
	What string
	// Package is the Debian package that contains it.
	Package string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not there: install the package %s", e.What, e.Package)
}

// platform is the QEMU configuration of one architecture and firmware.
type platform struct {
	arch      string
	firmware  Firmware
	program   string
	pkg       string // package of the program
	args      []string
	noScreen  string // added to -machine if there is no screen
	code      string // firmware; "" if it is part of QEMU
	variables string
	fwPackage string
	// option is QEMU's option for code, if that is no flash memory with variables.
	option string
}

// platforms are the supported platforms.
var platforms = []platform{
	{"amd64", BIOS, "qemu-system-x86_64", "qemu-system-x86", []string{"-machine", "pc", "-cpu", nehalem},
		",graphics=off",
		"", "", "", ""},
	{
		"amd64", UEFI, "qemu-system-x86_64", "qemu-system-x86", []string{"-machine", "q35", "-cpu", nehalem},
		",graphics=off",
		"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "ovmf", "",
	},
	{
		// System management mode protects the variables with Microsoft's keys (OVMF README,
		// SMM_REQUIRE).
		"amd64", SecureBoot, "qemu-system-x86_64", "qemu-system-x86", []string{
			"-machine", "q35,smm=on", "-cpu", nehalem, "-global", "driver=cfi.pflash01,property=secure,value=on",
			"-global",
			"ICH9-LPC.disable_s3=1",
		}, ",graphics=off",
		"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "ovmf", "",
	},
	{"i386", BIOS, "qemu-system-x86_64", "qemu-system-x86", []string{"-machine", "pc", "-cpu", nehalem},
		",graphics=off",
		"", "", "", ""},
	{
		"i386", UEFI, "qemu-system-i386", "qemu-system-x86", []string{"-machine", "q35"}, ",graphics=off",
		"/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd", "ovmf-ia32", "",
	},
	{
		"arm64", UEFI, "qemu-system-aarch64", "qemu-system-arm", []string{"-machine", "virt", "-cpu", "cortex-a57"}, "",
		"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd", "qemu-efi-aarch64", "",
	},
	{
		"arm64", UBoot, "qemu-system-aarch64", "qemu-system-arm", []string{"-machine", "virt", "-cpu", "cortex-a57"}, "",
		"/usr/lib/u-boot/qemu_arm64/u-boot.bin", "", "u-boot-qemu", "-bios",
	},
	{
		"armhf", UBoot, "qemu-system-arm", "qemu-system-arm", armVirt, "",
		"/usr/lib/u-boot/qemu_arm/u-boot.bin", "", "u-boot-qemu", "-bios",
	},
	{
		"armhf", UEFI, "qemu-system-arm", "qemu-system-arm", armVirt, "",
		"/usr/share/AAVMF/AAVMF32_CODE.fd", "/usr/share/AAVMF/AAVMF32_VARS.fd", "qemu-efi-arm", "",
	},
	{
		// QEMU brings OpenSBI, which starts U-Boot. The package is qemu-system-misc before trixie and qemu-system-riscv
		// since; both provide this name.
		"riscv64", UBoot, "qemu-system-riscv64", "qemu-system-riscv64", []string{"-machine", "virt"}, "",
		"/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin", "", "u-boot-qemu", "-kernel",
	},
	{
		// Debian has the package since trixie, whose QEMU is also the first that starts firmware from the first flash memory
		// after OpenSBI. The firmware's documentation has acpi=off: Linux then reads the device tree, as on boards.
		"riscv64", UEFI, "qemu-system-riscv64", "qemu-system-riscv64", []string{"-machine", "virt,acpi=off"}, "",
		"/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd",
		"qemu-efi-riscv64", "",
	},
}

// armVirt are the options for 32-bit ARM. Debian's kernel does not reach the PCI bus above 4 GiB.
var armVirt = []string{"-machine", "virt,highmem=off", "-cpu", "cortex-a15"}

// PC reports whether the machine is a PC. Others have no IDE, and their firmware tells Linux which console to use.
func (m Machine) PC() bool { return m.Arch == "" || m.Arch == "amd64" || m.Arch == "i386" }

// Software is the Accel for software emulation.
const Software = "tcg"

// inSoftware is appended to -cpu with software emulation. QEMU 7.2 loses the flags of the processor
// when an interrupt occurs directly after cmpxchg16b, which Linux uses to allocate memory: on a
// busy host 5 of 10 boots ended in a panic (a debug exception or a double fault in __kmalloc, with
// a part of an address in EFLAGS), and none of 14 without that instruction, which Linux does not
// need.
const inSoftware = ",-cx16"

// nehalem is the processor that QEMU emulates fastest of those that Debian for PCs supports.
const nehalem = "Nehalem"

func (m Machine) inSoftware() bool { return strings.HasPrefix(m.Accel, Software) }

// withDefaults sets the defaults.
func (m Machine) withDefaults() Machine {
	if m.Format == "" {
		m.Format = "raw"
	}
	if m.Arch == "" {
		m.Arch = "amd64"
	}
	if m.Firmware == "" {
		m.Firmware = DefaultFirmware(m.Arch)
	}
	if m.Accel == "" {
		m.Accel = Software
	}
	if m.Memory == 0 {
		m.Memory = 1024
	}
	if m.CPUs == 0 && m.inSoftware() {
		// With two, one may run code while the other one patches it: Linux crashed because of that
		// (int3 in sched_clock_cpu and elsewhere) in three of some seventy boots, with QEMU 7.2. On
		// two busy processors one is hardly slower.
		m.CPUs = 1
	}
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	return m
}

// Command returns QEMU's program and its arguments; serial is the destination of the serial line
// ("stdio"). Command writes a copy of the firmware's variables to dir. The error is a *MissingError
// if something is not installed.
func (m Machine) Command(dir, serial string) (program string, args []string, err error) {
	m = m.withDefaults()
	p, err := m.platform()
	if err != nil {
		return "", nil, err
	}
	if program, err = exec.LookPath(p.program); err != nil {
		return "", nil, &MissingError{p.program, p.pkg}
	}
	platformArgs := append([]string{}, p.args...)
	args = []string{"-accel", m.Accel, "-m", fmt.Sprint(m.Memory), "-smp", fmt.Sprint(m.CPUs), "-serial", serial,
		"-no-reboot"}
	if !m.Graphics {
		platformArgs[1] += p.noScreen
		args = append(args, "-display", "none")
	}
	if serial == "stdio" {
		args = append(args, "-monitor", "none")
	}
	if cpu := slices.Index(platformArgs, nehalem); cpu >= 0 && m.inSoftware() {
		platformArgs[cpu] += inSoftware
	}
	args = append(args, platformArgs...)
	if err := p.findFirmware(); err != nil {
		return "", nil, err
	}
	if p.option != "" {
		args = append(args, p.option, p.code)
	} else if p.code != "" {
		variables, err := p.copyVariables(dir)
		if err != nil {
			return "", nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+p.code,
			"-drive", "if=pflash,format=raw,unit=1,file="+escape(variables))
	}
	network := "none"
	if m.Network {
		network = "user,model=virtio-net-pci"
		if m.SSHPort != 0 {
			network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", m.SSHPort)
		}
	}
	drive := "file=" + escape(m.Image) + ",format=" + m.Format + ",if=none,id=disk"
	if m.Snapshot && !m.CD {
		drive += ",snapshot=on"
	}
	device := "virtio-blk-pci,drive=disk"
	if m.SectorSize != 0 {
		device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", m.SectorSize)
	}
	devices := []string{"-device", device}
	if m.CD {
		drive += ",media=cdrom,readonly=on"
		devices = m.cdDrive()
	}
	args = append(append(args, "-nic", network, "-drive", drive), devices...)
	for _, text := range m.Strings {
		args = append(args, "-smbios", "type=11,value="+escape(text))
	}
	return program, append(args, m.Args...), nil
}

// cdDrive returns the arguments for a CD drive with the medium called disk: that of PCs, or on other
// machines one of a SCSI controller, because they have no other.
func (m Machine) cdDrive() []string {
	if !m.PC() {
		return []string{"-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=disk,bootindex=0"}
	}
	return []string{"-device", "ide-cd,drive=disk,bootindex=0"}
}

// firmwareFiles are files for -bios by architecture: UEFI in one file, whose variables are lost when the machine ends.
var firmwareFiles = map[string]string{
	"amd64": "/usr/share/ovmf/OVMF.fd",                 // of ovmf
	"arm64": "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", // of qemu-efi-aarch64
}

// Line returns a short command line for users, which starts the machine with QEMU alone; with
// Graphics in a window, else on the terminal. It is nil if that takes more, as with variables of the
// firmware. Accel, CPUs and Snapshot are not used.
func (m Machine) Line() []string {
	m = m.withDefaults()
	p, err := m.platform()
	if err != nil {
		return nil
	}
	line := []string{p.program, "-accel", "kvm", "-accel", "tcg", "-m", fmt.Sprint(m.Memory)}
	if !m.PC() {
		line = append(line, p.args...)
	}
	if p.option != "" {
		line = append(line, p.option, p.code)
	} else if p.code != "" {
		file, known := firmwareFiles[m.Arch]
		if !known || m.Firmware != UEFI {
			return nil
		}
		line = append(line, "-bios", file)
	}
	if !m.Graphics {
		line = append(line, "-nographic")
	}
	if m.CD && m.PC() {
		return append(line, "-cdrom", m.Image)
	}
	return append(line, "-drive", "file="+escape(m.Image)+",format="+m.Format+",if=virtio")
}

func (m Machine) platform() (platform, error) {
	var known []string
	for _, p := range platforms {
		if p.arch == m.Arch && p.firmware == m.Firmware {
			return p, nil
		}
		known = append(known, p.arch+"/"+string(p.firmware))
	}
	return platform{}, fmt.Errorf("no machine for %s with firmware %s; want one of %s", m.Arch, m.Firmware,
		strings.Join(known, ", "))
}

// findFirmware returns a MissingError if the firmware is not installed.
func (p platform) findFirmware() error {
	for _, name := range []string{p.code, p.variables} {
		if name == "" {
			continue
		}
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return &MissingError{name, p.fwPackage}
		}
	}
	return nil
}

// copyVariables copies the firmware's variables, which the machine changes.
func (p platform) copyVariables(dir string) (string, error) {
	data, err := os.ReadFile(p.variables)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "variables.fd")
	return name, os.WriteFile(name, data, 0o600)
}

// escape doubles commas, which separate the parts of an option (qemu(1)).
func escape(name string) string { return strings.ReplaceAll(name, ",", ",,") }

// HostAccel returns the -accel for machines of the Debian architecture arch on a host of hostArch:
// KVM if the host runs arch natively and /dev/kvm works for this user, otherwise Software.
func HostAccel(hostArch, arch string) string {
	if hostArch != arch && (hostArch != "amd64" || arch != "i386") {
		return Software
	}
	const createVM = 0xae01 // KVM_CREATE_VM of linux/kvm.h
	kvm, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Software
	}
	defer unix.Close(kvm)
	vm, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(kvm), createVM, 0)
	if errno != 0 {
		return Software
	}
	_ = unix.Close(int(vm))
	return "kvm"
}
