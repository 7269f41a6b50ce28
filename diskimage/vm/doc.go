// SPDX-License-Identifier: Apache-2.0

// Package vm starts a disk image in QEMU and talks with it over its serial console: for boot tests, and for whoever
// wants to see an image run.
//
//	machine, err := vm.Start(ctx, vm.Machine{Image: "debian.img", Firmware: vm.UEFI}, dir)
//	defer machine.Stop()
//	text, err := machine.Expect(ctx, regexp.MustCompile("login: "))
//
// Command returns QEMU's command line alone. The image is not written to if Snapshot is set. UEFI gets a
// private copy of the firmware's variables, so that nothing of the host changes and each start is like the
// first.
//
// Machines of amd64, i386 and arm64 are known, for arm64 with UEFI alone. Programs and firmware are where Debian's
// packages have them: qemu-system-x86, qemu-system-arm, ovmf, qemu-efi-aarch64. No other emulators are supported.
package vm
