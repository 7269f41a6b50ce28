// SPDX-License-Identifier: Apache-2.0

// Package boot holds the ways in which an image starts: extlinux, GRUB for BIOS, UEFI or both, systemd-boot,
// or none. Each is a Loader in a file of its own, which says what it asks of the options, which packages,
// partitions and steps it needs, how a root file system that is there already is configured without running
// its programs, and what goes on the disk.
//
// A new boot loader is a file with a Loader, and a line in the table of loader.go.
package boot
