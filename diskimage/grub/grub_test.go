// SPDX-License-Identifier: Apache-2.0

package grub_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// validCore returns the minimum that is accepted as a core.img.
func validCore(sectors int) []byte {
	core := make([]byte, sectors*512)
	binary.LittleEndian.PutUint16(core[0x1fc:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(core[0x1fe:], 0x0820)
	return core
}

func validBoot() []byte {
	boot := make([]byte, 512)
	copy(boot[0x5a:], "\x00\x80") // load address
	copy(boot[0x66:], "\xeb\x05") // drive check
	copy(boot[0x1fe:], "\x55\xaa")
	return boot
}

func TestEmbedBIOSRejectsWhatWouldNotBoot(t *testing.T) {
	t.Parallel()
	withBytes := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, tt := range []struct {
		name       string
		boot, core []byte
		at         grub.Embedding
		want       string
	}{
		{"no end mark", make([]byte, 512), validCore(4), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "boot.img"},
		{"boot sector of another loader", withBytes(validBoot(), 0x5b, 0x7c), validCore(4),
			grub.Embedding{CoreLBA: 1, Sectors: 2047}, "not from GRUB"},
		{"drive check changed", withBytes(validBoot(), 0x66, 0x90), validCore(4),
			grub.Embedding{CoreLBA: 1, Sectors: 2047},
			"drive check"},
		{"cut off", validBoot(), validCore(5)[:4*512], grub.Embedding{CoreLBA: 1, Sectors: 2047},
			"4 sectors after its first one according to its block list, but 3"},
		{"no room", validBoot(), validCore(64), grub.Embedding{CoreLBA: 1, Sectors: 62}, "needs 64 sectors"},
		{"too long", validBoot(), validCore(889), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "can load at most 888"},
		{"sector 0", validBoot(), validCore(4), grub.Embedding{Sectors: 2047}, "sector 0"},
		{"other platform", validBoot(), make([]byte, 2048), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "i386-pc"},
		{"in parts", validBoot(), withBytes(validCore(4), 0x1e8, 1), grub.Embedding{CoreLBA: 1, Sectors: 2047}, "parts"},
		{"with redundancy", validBoot(), withBytes(validCore(4), 0x210, 1), grub.Embedding{CoreLBA: 1, Sectors: 2047},
			"Reed-Solomon"},
	} {
		if _, err := grub.EmbedBIOS(tt.boot, tt.core, tt.at); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestEnvironmentHasItsFixedLength(t *testing.T) {
	t.Parallel()
	if got := len(grub.Environment()); got != grub.EnvironmentSize {
		t.Errorf("got %d bytes, want %d", got, grub.EnvironmentSize)
	}
}

func TestEFIFilesHaveNamesThatFirmwareLooksFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ arch, removable, installed string }{
		{"amd64", "EFI/BOOT/BOOTX64.EFI", "EFI/debian/grubx64.efi"},
		{"i386", "EFI/BOOT/BOOTIA32.EFI", "EFI/debian/grubia32.efi"},
		{"arm64", "EFI/BOOT/BOOTAA64.EFI", "EFI/debian/grubaa64.efi"},
		{"armhf", "EFI/BOOT/BOOTARM.EFI", "EFI/debian/grubarm.efi"},
		{"riscv64", "EFI/BOOT/BOOTRISCV64.EFI", "EFI/debian/grubriscv64.efi"},
	} {
		platform := grub.EFIPlatform(tt.arch)
		removable, installed, err := grub.EFIPaths(platform, "debian")
		if err != nil || removable != tt.removable || installed != tt.installed {
			t.Errorf("%s: got %q, %q, %v", tt.arch, removable, installed, err)
		}
		signed, err := grub.EFISignedFiles(platform, "debian")
		if want := tt.arch == "amd64" || tt.arch == "i386" || tt.arch == "arm64"; (err == nil) != want {
			t.Errorf("%s, signed: %v", tt.arch, err)
		}
		if err == nil && signed[0].To != tt.removable {
			t.Errorf("%s: shim goes to %q, want %q", tt.arch, signed[0].To, tt.removable)
		}
	}
	if platform := grub.EFIPlatform("s390x"); platform != "" {
		t.Errorf("s390x: got %q", platform)
	}
	if _, _, err := grub.EFIPaths(grub.BIOSPlatform, "debian"); err == nil {
		t.Error("i386-pc: no error")
	}
}

func TestCoreModulesReachTheDisk(t *testing.T) {
	t.Parallel()
	if got := grub.CoreModules(grub.BIOSPlatform, "ext4"); !slices.Contains(got, "biosdisk") ||
		!slices.Contains(got, "ext2") {
		t.Errorf("BIOS: got %q", got)
	}
	// grub-mkimage fails for a module that the platform does not have.
	if got := grub.CoreModules("x86_64-efi", "vfat"); slices.Contains(got, "biosdisk") || !slices.Contains(got, "fat") {
		t.Errorf("UEFI: got %q", got)
	}
}

// TestEFIFilesAreThoseOfGrubInstall compares with the files of grub-install --uefi-secure-boot
// --force-extra-removable, except for grub.cfg and EFI/BOOT/fbx64.efi.
func TestEFIFilesAreThoseOfGrubInstall(t *testing.T) {
	t.Parallel()
	files, err := grub.EFISignedFiles("x86_64-efi", "debian")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.To)
	}
	slices.Sort(got)
	want := []string{
		"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi",
		"EFI/debian/BOOTX64.CSV", "EFI/debian/fbx64.efi", "EFI/debian/grubx64.efi", "EFI/debian/mmx64.efi",
		"EFI/debian/shimx64.efi",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
