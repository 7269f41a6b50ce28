// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// boardImage is an image with one boot loader, and what boots it.
type boardImage struct {
	options  string
	firmware []diskimagetest.Firmware
	// want are regular expressions for the console, before the login prompt.
	want []string
}

// TestMatrixOfBoards boots images for architectures whose machines are no PCs with each boot loader that they have, by
// U-Boot, which starts EFI programs as well, and by EDK2 where bookworm has it. The first image of an architecture is
// built, in a quarter of an hour, since all its programs are emulated; the others are assembled from it.
func TestMatrixOfBoards(t *testing.T) {
	uboot, both := []diskimagetest.Firmware{diskimagetest.UBoot},
		[]diskimagetest.Firmware{diskimagetest.UBoot, diskimagetest.UEFI}
	const stub, systemdBoot = "EFI stub: Loaded initrd", "Boot in 1 s"
	for _, tt := range []struct {
		arch, packages string // those of the other loaders
		images         []boardImage
	}{
		{"riscv64", "grub-efi-riscv64-bin,systemd-boot-efi", []boardImage{
			{"--boot u-boot --bootsize 200MiB --boottype vfat", uboot,
				[]string{"extlinux/extlinux.conf", "vmlinux-", "fdtdir|dtbs/", "Linux version .*riscv64"}},
			{"--grub --use-uefi --part-type gpt", uboot, []string{"GRUB", stub}},
			{"--boot systemd-boot --part-type gpt", uboot, []string{systemdBoot, stub}},
		}},
		{"armhf", "u-boot-menu,systemd-boot-efi", []boardImage{
			{"--grub --use-uefi", both, []string{"GRUB", stub}},
			{"--boot u-boot", uboot, []string{"extlinux/extlinux.conf", "vmlinuz-", "Linux version .*armmp"}},
			{"--boot systemd-boot --part-type gpt", both, []string{systemdBoot, stub}},
		}},
	} {
		t.Run(tt.arch, func(t *testing.T) {
			built := ""
			for _, i := range tt.images {
				options, image := strings.Fields(i.options), ""
				if built == "" {
					built = buildImage(t, slowMachine, append(options, "--arch", tt.arch, "--distribution", "trixie", "--no-acpid",
						"--debootstrapopts", "variant=minbase", "--package", tt.packages)...)
					image = built
				} else {
					image = assembleImage(t, built, options...)
				}
				for _, firmware := range i.firmware {
					console := diskimagetest.Boot(t, image, diskimagetest.BootOptions{Arch: tt.arch, Firmware: firmware, Memory: 1024,
						Timeout: 30 * time.Minute})
					wantOnConsole(t, console, i.want...)
				}
			}
		})
	}
}

// assembleImage makes an image of 2 GB with a serial console from another one.
func assembleImage(t *testing.T, from string, options ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "assembled.img")
	args := append([]string{"assemble", "--from", from, "--image", image, "--size", "2G", "--serial-console"}, options...)
	if out, err := vmdebootstrap(t, args...).CombinedOutput(); err != nil {
		t.Fatalf("vmdebootstrap %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return image
}
