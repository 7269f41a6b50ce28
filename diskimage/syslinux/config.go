// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mbrSize is the maximum size of code in sector 0, before the disk signature of an msdos table.
const mbrSize = 440

// MBRCode returns the boot code for sector 0: code is mbr.bin of syslinux-common for an msdos
// table, which starts the active partition, or gptmbr.bin, which starts the partition with the
// attribute legacy_boot.
func MBRCode(code []byte) (diskimage.Patch, error) {
	if len(code) == 0 || len(code) > mbrSize {
		return diskimage.Patch{}, fmt.Errorf("boot code of %d bytes; sector 0 has room for %d", len(code), mbrSize)
	}
	return diskimage.Patch{Offset: 0, Data: code, What: "syslinux boot code of sector 0"}, nil
}

// ConfigName is the name of the configuration in the directory of ldlinux.sys. syslinux looks for
// it on ext2, ext3, ext4 and FAT alike (core/fs/lib/loadconfig.c, core/fs/fat.c).
const ConfigName = "extlinux.conf"

// Config is a configuration without kernels, which KernelHook adds.
type Config struct {
	// SerialBaud, if not 0, makes syslinux use the first serial port as well, at this speed.
	SerialBaud int
}

// Bytes returns the text of extlinux.conf. The serial line comes first, because what syslinux
// prints before it does not appear there (syslinux.cfg(5), SERIAL).
func (c Config) Bytes() []byte {
	var b strings.Builder
	if c.SerialBaud != 0 {
		fmt.Fprintf(&b, "serial 0 %d\n", c.SerialBaud)
	}
	// The unit of the timeout is 0.1 s.
	b.WriteString("default linux\ntimeout 1\n\n")
	b.WriteString("# Whenever a kernel comes or goes, /etc/kernel/postinst.d/" + KernelHookName +
		" rewrites what is between the marks,\n" +
		"# with the arguments in /etc/kernel/cmdline. All other lines are yours.\n" +
		kernelsBegin + kernelsEnd)
	return []byte(b.String())
}

// The starts of the lines of a configuration around the kernels.
const (
	kernelsBegin = "# begin of the kernels\n"
	kernelsEnd   = "# end of the kernels\n"
)

// Kernel is a kernel in /boot: vmlinuz-VERSION and, with Initrd, initrd.img-VERSION.
type Kernel struct {
	Version string
	Initrd  bool
}

// WithKernels returns the configuration with the kernels, the first of which is the default, as
// KernelHook does on a running system. prefix is the directory in which the loader finds the files
// of /boot: "/boot", or "" if that is the loader's own file system. ok is false for a configuration
// without the marks, which is left to its owner.
func WithKernels(config []byte, kernels []Kernel, prefix, arguments string) (_ []byte, ok bool) {
	before, rest, begins := strings.Cut(string(config), kernelsBegin)
	between, after, ends := strings.Cut(rest, kernelsEnd)
	if !begins || !ends || strings.Contains(between, kernelsBegin) || strings.Contains(after, kernelsBegin) ||
		strings.Contains(after, kernelsEnd) {
		return config, false
	}
	var b strings.Builder
	b.WriteString(before + kernelsBegin)
	for i, k := range kernels {
		label, initrd := "linux", ""
		if i > 0 {
			label += "-" + k.Version
		}
		if k.Initrd {
			initrd = "initrd=" + prefix + "/initrd.img-" + k.Version + " "
		}
		fmt.Fprintf(&b, "label %s\n\tkernel %s/vmlinuz-%s\n\tappend %s%s\n\n", label, prefix, k.Version, initrd,
			arguments)
	}
	b.WriteString(kernelsEnd + after)
	return []byte(b.String()), true
}

// KernelHookName is the name of KernelHook in /etc/kernel/postinst.d and postrm.d. Programs there
// run in the order of their names, and this one must run after those that make the initramfs.
const KernelHookName = "zz-update-extlinux"

//go:embed update-extlinux
var kernelHook []byte

// KernelHook returns a shell script for the system that is booted, with mode 0755, as
// KernelHookName in /etc/kernel/postinst.d and postrm.d. It writes the kernels of /boot into the
// ConfigName in /boot or, if there is none, in /. It needs only a POSIX shell, coreutils, diffutils
// and sed, and the kernel's arguments in /etc/kernel/cmdline, the file of kernel-install(8).
func KernelHook() []byte { return kernelHook }
