// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
)

// Disk is what a boot loader has to know of a planned disk.
type Disk struct {
	Layout diskimage.Layout
	// MBR has boot code written to sector 0.
	MBR bool
	// Serial is the kernel's name of the serial console, if one is wanted: "ttyS0".
	Serial string
	Arch   string
	Vendor debian.Vendor
	// SignedEFI says that shim and GRUB are signed for Secure Boot.
	SignedEFI bool
	// OnlyEFI64 leaves out the GRUB for 32-bit firmware of machines for amd64.
	OnlyEFI64 bool
	// Time is recorded in each file system.
	Time time.Time
}

// Boot is the partition with the kernel on it.
func (d Disk) Boot() diskimage.Partition {
	if p, ok := d.Layout.Partition(diskimage.RoleBoot); ok {
		return p
	}
	return d.Root()
}

// Root is the root partition; each disk has one.
func (d Disk) Root() diskimage.Partition {
	p, _ := d.Layout.Partition(diskimage.RoleRoot)
	return p
}

// bootPrefix is the directory of kernels on the partition that has them.
func (d Disk) bootPrefix() string {
	if d.Boot().Role == diskimage.RoleBoot {
		return ""
	}
	return "/boot"
}

// serialBaud is the speed of --serial-console, that of the kernel's argument and of the getty.
const serialBaud = 115200

// kernelArguments are those that a kernel needs to find its root file system and its consoles.
func (d Disk) kernelArguments() string {
	arguments := "root=" + DeviceName(d.Root()) + " ro"
	if d.Serial != "" {
		arguments += fmt.Sprintf(" console=tty0 console=%s,%d", d.Serial, serialBaud)
	}
	return arguments
}

// vendorDir is the name of the vendor in small letters. It names the directory of the EFI system partition
// where grub-install puts its programs, the first word of GRUB_DISTRIBUTOR (the packages look after GRUB only
// if it is there), and it begins the names of unified kernel images, where kernel-install would take the
// machine ID, which an image does not have.
func (d Disk) vendorDir() string { return strings.ToLower(string(d.Vendor)) }

// DeviceName names a partition in fstab(5) and as the kernel's argument root=: by its file system, if that has an ID.
func DeviceName(p diskimage.Partition) string {
	if id := UUID(p.Filesystem); id != "" {
		return "UUID=" + id
	}
	return "PARTUUID=" + p.PartUUID
}

// UUID is the name that blkid(8) gives a file system: a FAT has a volume ID of four bytes instead of a UUID, and
// some have none, which is "".
func UUID(f diskimage.Filesystem) string {
	switch {
	case f.Type == "vfat":
		return fat.VolumeID(f.UUID)
	case filesystem.Lookup(f.Type).NoUUID:
		return ""
	}
	return f.UUID.String()
}

// rootNumber is the root partition's number on a GPT disk and 14 and 15 those of the BIOS boot partition and the ESP:
// the convention of Debian's cloud images. On msdos the partitions count up from 1.
const (
	gptBIOSBootNumber = 14
	GptESPNumber      = 15
)
