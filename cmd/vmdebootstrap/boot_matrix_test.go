// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestMatrix boots what CI has no time for, to the login prompt: `make test-matrix` runs it, for an hour or two with
// software emulation.
func TestMatrix(t *testing.T) {
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	const grub, syslinux, direct = "GRUB", "SYSLINUX", "BdsDxe: starting"
	verified := `root=/dev/mapper/root ro panic=0 .*roothash=[0-9a-f]{64}`
	secret := t.TempDir() + "/passphrase"
	if err := os.WriteFile(secret, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock := []diskimagetest.Exchange{{Want: unlockPrompt, Send: "geheim\n"}}
	for _, tt := range []struct {
		name     string
		options  string
		loader   string // its output on the console
		session  []diskimagetest.Exchange
		want     string // on the console as well
		firmware []diskimagetest.Firmware
	}{
		{"ext2-extlinux", "--roottype ext2 --bootsize 150Mi --boottype ext2", syslinux, nil, "",
			[]diskimagetest.Firmware{bios}},
		{"xfs-hybrid", "--roottype xfs --boot hybrid --part-type gpt", grub, nil, "",
			[]diskimagetest.Firmware{bios, uefi, secure}},
		{"btrfs-systemd-boot", "--roottype btrfs --boot systemd-boot --part-type gpt", direct, nil, "",
			[]diskimagetest.Firmware{uefi}},
		{"verity-ext4", "--roottype ext4 --verity --boot systemd-boot --part-type gpt --size auto", direct, nil, verified,
			[]diskimagetest.Firmware{uefi}},
		{"verity-squashfs", "--roottype squashfs --verity --boot systemd-boot --part-type gpt --size auto", direct, nil,
			verified, []diskimagetest.Firmware{uefi}},
		{"verity-erofs", "--roottype erofs --verity --boot systemd-boot --part-type gpt --size auto", direct, nil, verified,
			[]diskimagetest.Firmware{uefi}},
		{"luks-grub", "--luks --luks-passphrase " + secret + " --bootsize 250Mi --boottype ext4 --grub", grub, unlock,
			"set up successfully", []diskimagetest.Firmware{bios}},
		{"luks-systemd-boot", "--luks --luks-passphrase " + secret + " --boot systemd-boot --part-type gpt", direct, unlock,
			"set up successfully", []diskimagetest.Firmware{uefi}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonce := fmt.Sprintf("%s-%d", tt.name, os.Getpid())
			image := buildImage(t, strings.ReplaceAll(witness, "NONCE", nonce), strings.Fields(tt.options)...)
			for _, firmware := range tt.firmware {
				console := bootWitness(t, image, tt.loader, nonce, diskimagetest.BootOptions{
					Firmware: firmware, Session: tt.session, Memory: 2048, Timeout: 20 * time.Minute,
				})
				if tt.want != "" {
					wantOnConsole(t, console, tt.want)
				}
				if firmware == secure {
					wantOnConsole(t, console, "[Ss]ecure boot enabled")
				}
			}
		})
	}
}
