// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestMatrixOfLiveMedia boots one medium, which is made of a tarball, as a CD and as a disk, with each firmware. The disk
// has a partition for persistence as contrib/doc/live.md describes it.
func TestMatrixOfLiveMedia(t *testing.T) {
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	const onCD, onDisk = "medium=iso9660 /dev/sr0 ", "medium=iso9660 /dev/vda"
	dir := t.TempDir()
	iso := filepath.Join(dir, "live.iso")
	makeLive(t, dir, "--iso=built.iso", "--export=tar:root.tar")
	runIn(t, dir, "assemble", "--from=root.tar", "--iso=live.iso", "--serial-console", "--iso-persistence")
	for _, tt := range []struct {
		name string
		o    diskimagetest.BootOptions
		want []string
	}{
		{"CD, BIOS", diskimagetest.BootOptions{CD: true}, []string{onCD, "secure=0"}},
		{"CD, UEFI", diskimagetest.BootOptions{CD: true, Firmware: uefi}, []string{onCD, "secure=0"}},
		{"CD, Secure Boot", diskimagetest.BootOptions{CD: true, Firmware: secure}, []string{onCD, "secure=1"}},
		{"disk, UEFI", diskimagetest.BootOptions{Firmware: uefi}, []string{onDisk, "secure=0"}},
		{"disk, Secure Boot", diskimagetest.BootOptions{Firmware: secure}, []string{onDisk, "secure=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) { bootLive(t, iso, tt.o, append(tt.want, "GRUB", "kept= ")...) })
	}
	t.Run("disk, BIOS, persistence", func(t *testing.T) {
		addPersistence(t, iso)
		bootLive(t, iso, diskimagetest.BootOptions{Firmware: bios, Keep: true, Want: "written=0",
			Session: []diskimagetest.Exchange{{Want: "end=[0-9]", Send: "echo yes > kept && sync; echo written=$?\n"}}},
			"GRUB", onDisk, "kept= ")
		bootLive(t, iso, diskimagetest.BootOptions{Firmware: bios}, "GRUB", onDisk, "kept=yes ")
	})
}

// TestMatrixOfForeignMedia boots a medium for arm64, made on a machine of another architecture.
func TestMatrixOfForeignMedia(t *testing.T) {
	dir := t.TempDir()
	makeLive(t, dir, "--iso=live.iso", "--arch=arm64", "--kernel-package=linux-image-arm64")
	bootLive(t, filepath.Join(dir, "live.iso"), diskimagetest.BootOptions{Arch: "arm64", CD: true}, "GRUB", "secure=0")
}

// addPersistence appends a partition for persistence to a medium.
func addPersistence(t *testing.T, iso string) {
	t.Helper()
	const mib = 1 << 20
	info, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	start := (info.Size() + mib - 1) / mib // the old end, where the backup of the table was
	files := t.TempDir()
	if err := errors.Join(os.Truncate(iso, (start+130)*mib),
		os.WriteFile(filepath.Join(files, "persistence.conf"), []byte("/ union\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "sgdisk", "--move-second-header", fmt.Sprintf("--new=3:%d:+128M", start*mib/512), iso)
	diskimagetest.Run(t, "mke2fs", "-q", "-t", "ext4", "-L", "persistence", "-d", files,
		"-E", fmt.Sprintf("offset=%d,root_owner=0:0", start*mib), iso, "128M")
}
