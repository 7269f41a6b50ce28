// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"os"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestFlippedBitStopsTheBoot boots an image with dm-verity as far as its root file system: a bit of that which has no
// meaning for squashfs, in the time at which it was made, stops the machine. make test-matrix boots others to their logins.
func TestFlippedBitStopsTheBoot(t *testing.T) {
	image := buildImage(t, "#!/bin/sh\n", "--verity", "--boot", "systemd-boot", "--part-type", "gpt", "--roottype", "squashfs",
		"--size", "auto")
	flipBit(t, image, 1, 8)
	console := diskimagetest.Boot(t, image, diskimagetest.BootOptions{Firmware: diskimagetest.UEFI,
		Want: "verity: .* data block 0 is corrupted"})
	wantOnConsole(t, console, "BdsDxe: starting", "roothash=[0-9a-f]{64}")
}

// flipBit changes a bit of a partition.
func flipBit(t *testing.T, image string, number int, at int64) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := diskimage.ReadTable(f, diskimage.Size(info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table {
		if p.Number != number {
			continue
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, int64(p.Start)+at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, int64(p.Start)+at); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no partition %d", number)
}
