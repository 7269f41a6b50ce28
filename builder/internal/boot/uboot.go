// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// UBoot lets U-Boot start the kernel from its menu /boot/extlinux/extlinux.conf, which the package u-boot-menu writes.
// U-Boot itself is part of the board, or written with --raw: its place on the disk differs from board to board.
//
// U-Boot looks for the menu on the partitions that are marked as bootable, in the directories / and /boot (its
// documentation: "Generic Distro Configuration Concept", and the bootmeth extlinux of "Standard Boot").
type UBoot struct{ commonLoader }

// String implements Loader.
func (UBoot) String() string { return "U-Boot" }

// LegacyBoot implements Loader.
func (UBoot) LegacyBoot() bool { return true }

func (UBoot) kernelNames() []string { return step.UBootKernelNames() }

// Packages implements Loader. The hooks of u-boot-menu copy device trees to a separate /boot with rsync.
func (UBoot) Packages(r Request) []string {
	if r.Bootsize > 0 && !r.OwnDeviceTree {
		return []string{"rsync", "u-boot-menu"}
	}
	return []string{"u-boot-menu"}
}

// ubootArches are the architectures for which Debian has packages of U-Boot for boards.
var ubootArches = []string{"arm64", "armel", "armhf", "riscv64"}

// Check implements Loader. Bookworm's u-boot-menu is the first that reads /etc/kernel/cmdline, and trixie's the first
// that copies device trees to a separate /boot. Ubuntu's kernels have their device trees in another directory.
func (l UBoot) Check(r Request) []error {
	var problems []error
	if r.Arch.Name != "" && !slices.Contains(ubootArches, r.Arch.Name) {
		problems = append(problems, problem.New("--boot", "Debian has no U-Boot for machines of %s: choose an --arch of %s, "+
			"or another boot loader", r.Arch.Name, strings.Join(ubootArches, ", "))...)
	}
	if r.Release.Codename != "" && (r.Release.Vendor != debian.Debian || !r.Release.Since("bookworm", "")) {
		problems = append(problems, problem.New("--boot", "%s has no u-boot-menu that can be used: choose %s for Debian "+
			"since bookworm", r.Release.Codename, WordUBoot)...)
	}
	if !r.Image {
		return problems
	}
	if r.Bootsize > 0 && !r.OwnDeviceTree && r.Release.Codename != "" && !r.Release.Since("trixie", "") {
		problems = append(problems, problem.New("--bootsize", "u-boot-menu of %s copies no device trees to a separate "+
			"/boot: drop --bootsize, use --dtb=file:FILE, or choose Debian since trixie", r.Release.Codename)...)
	}
	flag, name := "--roottype", r.Roottype
	if r.Bootsize > 0 {
		flag, name = "--boottype", r.Boottype
	}
	if t := filesystem.Lookup(name); (t.Root || t.Boot) && !t.UBoot {
		problems = append(problems, problem.New(flag, "%s cannot read kernels from %s: use --bootsize=256Mi with "+
			"--boottype=ext2 or vfat", l, name)...)
	}
	return append(problems, bootOutsideEncrypted(l, r)...)
}

// Files implements Loader. Without the program, the menu would not follow upgrades of the kernel.
func (UBoot) Files(Disk) []LoaderFile { return []LoaderFile{{"usr/sbin/u-boot-update", "u-boot-menu"}} }

func (UBoot) step(d Disk) step.UBoot {
	return step.UBoot{SeparateBoot: d.Boot().Role == diskimage.RoleBoot, DeviceTree: d.DeviceTree,
		Arguments: d.kernelArguments()}
}

// Steps implements Loader.
func (l UBoot) Steps(d Disk) []step.Step { return []step.Step{l.step(d)} }

// Prepare implements Loader. The menu is in the root file system.
func (UBoot) Prepare(context.Context, Disk, Source) (Parts, error) { return Parts{}, nil }

// Configure implements Loader. It writes the menu that u-boot-update(8) would write.
func (l UBoot) Configure(d Disk, f *target.Memory) error {
	if err := removeRootArguments(f); err != nil {
		return err
	}
	setup := l.step(d)
	if err := setup.Write(f); err != nil {
		return err
	}
	menu := ubootMenu{Files: f, root: "root=" + DeviceName(d.Root()), separate: setup.SeparateBoot}
	var err error
	if menu.settings, err = ubootSettings.read(f); err != nil {
		return err
	}
	if update := menu.settings["U_BOOT_UPDATE"]; update != "" && update != "true" {
		return nil // the user has a menu of their own
	}
	if menu.kernels, err = menuKernels(l, f); err != nil {
		return err
	}
	if menu.syncs() {
		if err := menu.copyDeviceTrees(); err != nil {
			return err
		}
	}
	text, err := menu.text()
	if err != nil {
		return err
	}
	return target.WriteFileIn(f, step.UBootMenu, text, 0o644)
}
