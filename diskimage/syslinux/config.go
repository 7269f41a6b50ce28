// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mbrSize is the room for code in sector 0, before the disk signature of an msdos table.
const mbrSize = 440

// MBRCode is the boot code for sector 0: mbr.bin of syslinux-common for an msdos table, which starts the active
// partition, or gptmbr.bin, which starts the one with the attribute legacy_boot.
func MBRCode(code []byte) (diskimage.Patch, error) {
	if len(code) == 0 || len(code) > mbrSize {
		return diskimage.Patch{}, fmt.Errorf("boot code of %d bytes; sector 0 has room for %d", len(code), mbrSize)
	}
	return diskimage.Patch{Offset: 0, Data: code, What: "syslinux boot code of sector 0"}, nil
}

// ConfigName is the name of the configuration, beside ldlinux.sys. syslinux looks for it on ext2, ext3, ext4 and FAT
// alike (core/fs/lib/loadconfig.c, core/fs/fat.c).
const ConfigName = "extlinux.conf"

// Config is a configuration without kernels: KernelHook adds them.
type Config struct {
	// SerialBaud, if not 0, has syslinux use the first serial port as well, at this speed.
	SerialBaud int
}

// Bytes is the text of extlinux.conf. The serial line comes first, as syslinux wants it: what it prints before would
// not be seen there (syslinux.cfg(5), SERIAL).
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

// The lines of a configuration that the kernels are between begin so.
const (
	kernelsBegin = "# begin of the kernels\n"
	kernelsEnd   = "# end of the kernels\n"
)

// Kernel is a kernel in /boot: vmlinuz-VERSION and, with Initrd, initrd.img-VERSION.
type Kernel struct {
	Version string
	Initrd  bool
}

// WithKernels gives a configuration the kernels, the first of which starts by itself, as KernelHook does on a running
// system. prefix is where the loader finds the files of /boot: "/boot", or "" where that is the loader's own file
// system. A configuration without the marks is its owner's: ok is false.
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

// KernelHookName is the name for KernelHook in /etc/kernel/postinst.d and postrm.d. Programs there run in the order of
// their names, and this one must come after those that make the initramfs.
const KernelHookName = "zz-update-extlinux"

//go:embed update-extlinux
var kernelHook []byte

// KernelHook is a shell script that belongs into the system that is booted, with mode 0755, as KernelHookName in
// /etc/kernel/postinst.d and postrm.d. It writes the kernels of /boot into the ConfigName that it finds in /boot or, if
// none is there, in /. It needs nothing but a POSIX shell, coreutils, diffutils and sed, and the kernel's arguments in
// /etc/kernel/cmdline, the file of kernel-install(8).
func KernelHook() []byte { return kernelHook }
