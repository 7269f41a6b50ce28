// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestUBootStartsRISCV64 builds an image for a board whose U-Boot reads the menu on a FAT partition, and boots it. The
// build takes a quarter of an hour, since all programs of the image are emulated.
func TestUBootStartsRISCV64(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "riscv64.img")
	cmd := vmdebootstrap(t, "--image", image, "--size", "1500MB", "--arch", "riscv64", "--distribution", "trixie",
		"--boot", "u-boot", "--bootsize", "200MiB", "--boottype", "vfat", "--serial-console", "--no-acpid",
		"--debootstrapopts", "variant=minbase")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("vmdebootstrap: %v\n%s", err, out)
	}
	console := diskimagetest.Boot(t, image, diskimagetest.BootOptions{Arch: "riscv64", Memory: 1024,
		Timeout: 30 * time.Minute})
	wantOnConsole(t, console, "extlinux/extlinux.conf", "vmlinux-", "fdtdir|dtbs/", "Linux version .*riscv64")
}
