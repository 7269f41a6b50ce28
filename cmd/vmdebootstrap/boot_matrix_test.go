// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestMatrix boots what CI has no time for, to the login prompt: `make test-matrix` runs it, for three hours with
// software emulation.
func TestMatrix(t *testing.T) {
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	const ownKey diskimagetest.Firmware = "own key" // Secure Boot with the key of ovmf's tests alone
	const grub, syslinux, direct = "GRUB", "SYSLINUX", "BdsDxe: starting"
	verified := `root=/dev/mapper/root ro panic=0 .*roothash=[0-9a-f]{64}`
	secret := t.TempDir() + "/passphrase"
	if err := os.WriteFile(secret, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock := []diskimagetest.Exchange{{Want: unlockPrompt, Send: "geheim\n"}}
	key := ovmfKey(t)
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
		{"uefi-msdos", "--grub --use-uefi --swap 256Mi", grub, nil, "Adding 262140k swap", []diskimagetest.Firmware{uefi}},
		{"bullseye-f2fs", "--distribution bullseye --grub --bootsize 200Mi --boottype ext3 --roottype f2fs", grub, nil,
			"networkd=1 ", []diskimagetest.Firmware{bios}},
		{"btrfs-grub", "--roottype btrfs --grub --package network-manager", grub, nil, "networkd=0 ",
			[]diskimagetest.Firmware{bios}},
		{"btrfs-systemd-boot", "--roottype btrfs --boot systemd-boot --part-type gpt", direct, nil, "",
			[]diskimagetest.Firmware{uefi}},
		{"verity-ext4", "--roottype ext4 --verity --boot systemd-boot --part-type gpt --size auto", direct, nil, verified,
			[]diskimagetest.Firmware{uefi}},
		{"verity-squashfs", "--roottype squashfs --verity --boot systemd-boot --part-type gpt --size auto", direct, nil,
			verified, []diskimagetest.Firmware{uefi}},
		{"verity-erofs", "--roottype erofs --verity --boot systemd-boot --part-type gpt --size auto", direct, nil, verified,
			[]diskimagetest.Firmware{uefi}},
		{"verity-signed", "--roottype squashfs --verity --boot systemd-boot --part-type gpt --size auto --secureboot-key " +
			key + " --secureboot-cert " + ovmfCertificate, direct, nil, verified, []diskimagetest.Firmware{ownKey}},
		{"luks-grub", "--luks --luks-passphrase " + secret + " --bootsize 250Mi --boottype ext4 --grub", grub, unlock,
			"set up successfully", []diskimagetest.Firmware{bios}},
		{"luks-systemd-boot", "--luks --luks-passphrase " + secret + " --boot systemd-boot --part-type gpt", direct, unlock,
			"set up successfully", []diskimagetest.Firmware{uefi}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonce := fmt.Sprintf("%s-%d", tt.name, os.Getpid())
			image := buildImage(t, strings.ReplaceAll(witness, "NONCE", nonce), strings.Fields(tt.options)...)
			if tt.name == "btrfs-grub" {
				diskimagetest.Run(t, "btrfs", "check", "--readonly", partition(t, image))
			}
			for _, firmware := range tt.firmware {
				o := diskimagetest.BootOptions{Firmware: firmware, Session: tt.session, Memory: 2048,
					Timeout: 20 * time.Minute}
				if firmware == ownKey {
					o.Firmware, o.Args = bios, withOwnKey(t)
				}
				console := bootWitness(t, image, tt.loader, nonce, o)
				if tt.want != "" {
					wantOnConsole(t, console, tt.want)
				}
				if firmware == secure || firmware == ownKey {
					wantOnConsole(t, console, "[Ss]ecure boot enabled")
				}
			}
		})
	}
}

// partition copies the only partition of an image of 2 GB to a file of its own.
func partition(t *testing.T, image string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "partition")
	diskimagetest.Run(t, "dd", "if="+image, "of="+name, "bs=1M", "skip=1", "conv=sparse", "status=none")
	return name
}

// ovmfCertificate is the only certificate in the db of the variables that ovmf has for tests.
const ovmfCertificate = "/usr/share/ovmf/PkKek-1-snakeoil.pem"

// ovmfKey returns a file with the key of ovmfCertificate, without its passphrase.
func ovmfKey(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "db.key")
	diskimagetest.Run(t, "openssl", "pkey", "-in", diskimagetest.File(t, "/usr/share/ovmf/PkKek-1-snakeoil.key"),
		"-passin", "pass:snakeoil", "-out", name)
	return name
}

// withOwnKey returns arguments that turn a machine with a BIOS into one that starts only what ovmfCertificate verifies.
func withOwnKey(t *testing.T) []string {
	t.Helper()
	variables := filepath.Join(t.TempDir(), "variables.fd")
	data := readFile(t, diskimagetest.File(t, "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"))
	if err := os.WriteFile(variables, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-global", "ICH9-LPC.disable_s3=1",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
		"-drive", "if=pflash,format=raw,unit=1,file=" + variables}
}
