// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/uki"
)

// Disk describes a planned disk for a boot loader.
type Disk struct {
	Layout diskimage.Layout
	// BootMount is where the partition of RoleBoot is mounted. Kernels are there only if it is DefaultMount.
	BootMount string
	// MBR reports whether boot code is written to sector 0.
	MBR bool
	// Serial is the kernel's name for the serial console ("ttyS0"), or empty for none.
	Serial string
	Arch   string
	Vendor debian.Vendor
	// SignedEFI reports whether shim and GRUB are signed for Secure Boot.
	SignedEFI bool
	// OnlyEFI64 omits the GRUB for amd64 machines with 32-bit firmware.
	OnlyEFI64 bool
	// Time is recorded in each file system.
	Time time.Time
	// RootHash is that of the root file system's hash tree; empty if there is none, or as long as it is not known.
	RootHash string
	// DeviceTree is the one that U-Boot gives to the kernel.
	DeviceTree step.DeviceTree
	// Signer signs EFI programs; nil if they are not signed.
	Signer *uki.Signer
	// Slots are those of a disk with two root partitions; nil for one.
	Slots *Slots
}

// Slots is the image in the first of two slots: an update writes another version to the other one.
type Slots struct{ Name, Version string }

// Label is the label of the version's root partition, and the name of its kernel image.
func (s Slots) Label() string { return s.Name + "_" + s.Version }

// EmptySlot is the label of a partition that systemd-sysupdate writes the next version to.
const EmptySlot = "_empty"

// DefaultMount is the directory of kernels, and where the partition of --bootsize is mounted by default.
const DefaultMount = "/boot"

// Boot returns the partition with the kernels.
func (d Disk) Boot() diskimage.Partition {
	if p, ok := d.Layout.Partition(diskimage.RoleBoot); ok && d.BootMount == DefaultMount {
		return p
	}
	return d.Root()
}

// Root returns the root partition. Each disk has one.
func (d Disk) Root() diskimage.Partition {
	p, _ := d.Layout.Partition(diskimage.RoleRoot)
	return p
}

// bootPrefix returns the directory of the kernels on the partition that has them.
func (d Disk) bootPrefix() string {
	if d.Boot().Role == diskimage.RoleBoot {
		return ""
	}
	return "/boot"
}

// VerityMapping is the name in /dev/mapper of a root file system that is verified, as systemd names it.
const VerityMapping = "root"

// verified reports whether the root file system has a hash tree.
func (d Disk) verified() bool {
	_, ok := d.Layout.Partition(diskimage.RoleRootVerity)
	return ok
}

// serialBaud is the speed of --serial-console, for the kernel's argument and the getty.
const serialBaud = 115200

// kernelArguments returns the arguments by which a kernel finds its root file system and its consoles.
func (d Disk) kernelArguments() string {
	root, panics := DeviceName(d.Root()), ""
	if d.Slots != nil {
		// An update writes another file system, but has the label and the command line of its own version. A version that
		// does not start is tried again, until systemd-boot chooses the one before.
		root, panics = "PARTLABEL="+d.Slots.Label(), " panic=10"
	}
	if d.verified() {
		root = "/dev/mapper/" + VerityMapping
		if d.Slots == nil {
			panics = " panic=0" // an initramfs that finds no root file system stops and does not start a shell
		}
	}
	arguments := "root=" + root + " ro" + panics
	if d.Serial != "" {
		arguments += fmt.Sprintf(" console=tty0 console=%s,%d", d.Serial, serialBaud)
	}
	return arguments
}

// vendorDir returns the name of the vendor in lower case. It is the directory on the EFI system partition where
// grub-install puts its programs, named after the first word of GRUB_DISTRIBUTOR (the packages update GRUB only if it
// exists). It is also the prefix of unified kernel images, in place of kernel-install's machine ID, which an image does
// not have.
func (d Disk) vendorDir() string { return strings.ToLower(string(d.Vendor)) }

// DeviceName returns the name of a partition for fstab(5) and the kernel's argument root=: the UUID of its file system,
// or its PARTUUID if the file system has no ID.
func DeviceName(p diskimage.Partition) string {
	if id := UUID(p.Filesystem); id != "" {
		return "UUID=" + id
	}
	return "PARTUUID=" + p.PartUUID
}

// UUID returns the UUID that blkid(8) prints for a file system: for FAT its volume ID of four bytes, and "" for types
// without an ID.
func UUID(f diskimage.Filesystem) string {
	switch {
	case f.Type == "vfat":
		return fat.VolumeID(f.UUID)
	case filesystem.Lookup(f.Type).NoUUID:
		return ""
	}
	return f.UUID.String()
}

// Numbers of the BIOS boot partition and the ESP on a GPT disk, as in Debian's cloud images. On msdos the
// partitions are numbered from 1.
const (
	gptBIOSBootNumber = 14
	GPTESPNumber      = 15
)
