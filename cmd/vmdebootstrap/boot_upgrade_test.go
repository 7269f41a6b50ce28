// SPDX-License-Identifier: Apache-2.0

//go:build boot && upgrade

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// The tests of this file upgrade packages in booted images, which takes a quarter of an hour with software emulation:
// `make test-upgrade` runs them.

// again is the end of a hook. It keeps packages of the boot loader in the image, to reinstall them in the
// booted system, and another kernel, which is new there. (The mirror has no older versions of the packages to
// upgrade from.)
const again = `
chroot "$1" sh -eu -c '
	mkdir /root/again
	cd /root/again
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-.*\)/\1/p")
	loaders=$(dpkg-query -W -f "\${db:Status-Abbrev}\${Package}\n" "grub*" "shim-*" "systemd-boot*" systemd-ukify \
		2> /dev/null | sed -n "s/^ii *//p")
	apt-get -o APT::Sandbox::User=root download $kernel $loaders
	ls
'
`

// upgrade logs in and installs the packages that again has kept.
var upgrade = []diskimagetest.Exchange{
	{Want: "login: ", Send: "root\n"},
	{Want: "Password: ", Send: "geheim\n"},
	{Want: "root@debian:~# ",
		Send: "DEBIAN_FRONTEND=noninteractive dpkg --install again/*.deb > log 2>&1; s=$?; tail -n 40 log; " +
			"find /boot -newer again -type f; echo installed $s; poweroff\n"},
}

// TestImageSurvivesUpgrades installs packages of the boot loader and a kernel in a booted image, and boots the result
// with each firmware that it supports.
func TestImageSurvivesUpgrades(t *testing.T) {
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	for _, tt := range []struct {
		name    string
		options []string
		loader  string                 // its output on the console
		upgrade diskimagetest.Firmware // of the machine that upgrades
		then    []diskimagetest.Firmware
	}{
		{"bios", []string{"--distribution", "bookworm", "--grub"}, "GRUB", bios, []diskimagetest.Firmware{bios}},
		{"hybrid", []string{"--boot", "hybrid", "--part-type", "gpt"}, "GRUB", uefi,
			[]diskimagetest.Firmware{bios, secure}},
		{"extlinux", []string{"--distribution", "bookworm", "--bootsize", "256Mi"}, "SYSLINUX", bios,
			[]diskimagetest.Firmware{bios}},
		{"systemd-boot", []string{"--boot", "systemd-boot", "--part-type", "gpt"}, "BdsDxe: starting", uefi,
			[]diskimagetest.Firmware{uefi}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonce := fmt.Sprintf("%s-%d", tt.name, os.Getpid())
			hook := strings.ReplaceAll(witness, "NONCE", nonce) + again
			image := buildImage(t, hook, append(tt.options, "--root-password", "geheim")...)
			checkPartitions(t, image)
			console := bootWitness(t, image, tt.loader, nonce, diskimagetest.BootOptions{
				Firmware: tt.upgrade, Session: upgrade, Want: "Power down|System halted", Keep: true,
				Timeout: 40 * time.Minute,
			})
			wantOnConsole(t, console, "installed 0")
			for _, firmware := range tt.then {
				console := bootWitness(t, image, tt.loader, nonce, diskimagetest.BootOptions{Firmware: firmware})
				wantOnConsole(t, console, "witness "+nonce+" kernel=[^ ]*cloud")
				if firmware == secure {
					wantOnConsole(t, console, "[Ss]ecure boot enabled")
				}
			}
			checkPartitions(t, image)
		})
	}
}
