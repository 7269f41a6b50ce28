// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestLiveMediumBoots builds a medium, makes the same of a tarball of the same system, and boots it as a CD by a BIOS.
// diskimage/grub tests the way to the menu for the other kinds of firmware and as a disk.
func TestLiveMediumBoots(t *testing.T) {
	dir := t.TempDir()
	call := func(args ...string) {
		t.Helper()
		cmd := vmdebootstrap(t, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	call("--iso=live.iso", "--export=tar:root.tar", "--distribution=stable", "--debootstrapopts=variant=minbase",
		"--no-acpid", "--serial-console", "--root-password=x", "--iso-label=live-test")
	iso := filepath.Join(dir, "live.iso")
	diskimagetest.Run(t, "sfdisk", "--verify", iso)
	if got := diskimagetest.Run(t, "sgdisk", "-v", iso); !strings.Contains(got, "No problems found") {
		t.Errorf("sgdisk says\n%s", got)
	}
	files := diskimagetest.Run(t, "bsdtar", "-tf", iso)
	for _, want := range []string{"live/filesystem.squashfs\n", "live/vmlinuz-", "live/initrd.img-",
		"boot/grub/grub.cfg\n"} {
		if !strings.Contains(files, want) {
			t.Errorf("the medium has\n%s\nand no %q", files, want)
		}
	}
	diskimagetest.Run(t, "bsdtar", "-xf", iso, "-C", dir, "live/filesystem.squashfs")
	squashfs := diskimagetest.Run(t, "unsquashfs", "-s", filepath.Join(dir, "live", "filesystem.squashfs"))
	if !strings.Contains(squashfs, "Compression zstd") {
		t.Errorf("unsquashfs says\n%s", squashfs)
	}
	call("assemble", "--from=root.tar", "--iso=again.iso", "--serial-console", "--iso-label=live-test")
	diskimagetest.Run(t, "bsdtar", "-tf", filepath.Join(dir, "again.iso"))
	// There is no other root file system than that of the medium.
	console := diskimagetest.Boot(t, iso, diskimagetest.BootOptions{CD: true, Memory: 1024, Timeout: 15 * time.Minute})
	wantOnConsole(t, console, "GRUB", "boot=live")
}
