// SPDX-License-Identifier: Apache-2.0

// Package boot implements the boot loaders of an image: extlinux, GRUB for BIOS, UEFI or both, systemd-boot, the menu
// of U-Boot, or none. Each is a Loader in a file of its own. A Loader checks the options; lists the packages,
// partitions and steps that it needs; configures an existing root file system without running its programs; and
// prepares what goes on the disk.
//
// A new boot loader needs a file with a Loader, and a line in the table of loader.go.
package boot
