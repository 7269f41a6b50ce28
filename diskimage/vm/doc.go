// SPDX-License-Identifier: Apache-2.0

// Package vm boots a disk image in QEMU and controls it over its serial console, for boot tests and
// for users who want to try an image:
//
//	machine, err := vm.Start(ctx, vm.Machine{Image: "debian.img", Firmware: vm.UEFI}, dir)
//	defer machine.Stop()
//	text, err := machine.Expect(ctx, regexp.MustCompile("login: "))
//
// Command only returns QEMU's command line. The machine does not write to the image if Snapshot is
// set. UEFI has a private copy of the firmware's variables, so that nothing on the host changes and
// each start is like the first.
//
// The supported architectures are amd64 and i386 with BIOS or UEFI, and arm64, armhf and riscv64
// with UEFI or U-Boot. Programs and firmware are those of Debian's packages of QEMU, and of ovmf,
// qemu-efi-aarch64, qemu-efi-arm, qemu-efi-riscv64 and u-boot-qemu. No other emulators are
// supported.
package vm
