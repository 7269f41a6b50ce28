//go:build boot

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// again is a hook's end that keeps packages of the boot loader in the image, to be installed again in the booted system,
// and another kernel, which is a new one there. (There is no older version of the packages on the mirror to come from.)
const again = `
chroot "$1" sh -eu -c '
	mkdir /root/again
	cd /root/again
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-.*\)/\1/p")
	apt-get -o APT::Sandbox::User=root download $kernel $(dpkg-query -W -f "\${Package}\n" "grub*" "shim-*" |
		while read p; do dpkg -s $p 2> /dev/null | grep -q "^Status:.* installed" && echo $p; done)
	ls
'
`

// upgrade logs in and installs what again has kept.
var upgrade = []diskimagetest.Exchange{
	{Want: "login: ", Send: "root\n"},
	{Want: "Password: ", Send: "geheim\n"},
	{Want: "root@debian:~# ", Send: "DEBIAN_FRONTEND=noninteractive dpkg --install again/*.deb > log 2>&1; s=$?; tail -n 40 log; " +
		"ls /boot/grub/*/core.*; echo installed $s; poweroff\n"},
}

// TestGrubImageSurvivesUpgrades installs packages of the boot loader and a kernel in a booted image, and starts the result
// by each firmware that it is for.
func TestGrubImageSurvivesUpgrades(t *testing.T) {
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	for _, tt := range []struct {
		name    string
		options []string
		upgrade diskimagetest.Firmware // of the machine that upgrades
		then    []diskimagetest.Firmware
	}{
		{"bios", []string{"--distribution", "bookworm", "--grub"}, bios, []diskimagetest.Firmware{bios}},
		{"hybrid", []string{"--boot", "hybrid", "--part-type", "gpt"}, uefi, []diskimagetest.Firmware{bios, secure}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nonce := fmt.Sprintf("%s-%d", tt.name, os.Getpid())
			hook := strings.ReplaceAll(witness, "NONCE", nonce) + again
			image := buildImage(t, hook, append(tt.options, "--root-password", "geheim")...)
			checkPartitions(t, image)
			console := bootGrub(t, image, nonce, diskimagetest.BootOptions{
				Firmware: tt.upgrade, Session: upgrade, Want: "Power down|System halted", Keep: true, Timeout: 20 * time.Minute,
			})
			wantOnConsole(t, console, "installed 0")
			for _, firmware := range tt.then {
				console := bootGrub(t, image, nonce, diskimagetest.BootOptions{Firmware: firmware})
				wantOnConsole(t, console, "witness "+nonce+" kernel=[^ ]*cloud")
				if firmware == secure {
					wantOnConsole(t, console, "[Ss]ecure boot enabled")
				}
			}
			checkPartitions(t, image)
		})
	}
}

// TestUEFIImageBoots has the manual's options for UEFI, on an msdos table with swap.
func TestUEFIImageBoots(t *testing.T) {
	nonce := fmt.Sprintf("uefi-%d", os.Getpid())
	image := buildImage(t, strings.ReplaceAll(witness, "NONCE", nonce), "--grub", "--use-uefi", "--swap", "256Mi")
	checkPartitions(t, image)
	console := bootGrub(t, image, nonce, diskimagetest.BootOptions{Firmware: diskimagetest.UEFI})
	wantOnConsole(t, console, "Adding 262140k swap")
}

// bootGrub starts an image and looks for GRUB and the witness on the console.
func bootGrub(t *testing.T, image, nonce string, o diskimagetest.BootOptions) string {
	t.Helper()
	o.Args = []string{"-nic", "user,model=virtio-net-pci"}
	o.Timeout = max(o.Timeout, 10*time.Minute)
	console := diskimagetest.Boot(t, image, o)
	wantOnConsole(t, console, "GRUB", "witness "+nonce+` .*address=10\.0\.2\.15 failed=0`)
	return console
}

// checkPartitions has the readers of other projects look at the table and at each file system.
func checkPartitions(t *testing.T, image string) {
	t.Helper()
	diskimagetest.Run(t, "sfdisk", "--verify", image)
	var dump struct {
		PartitionTable struct {
			Partitions []struct {
				Start, Size int64 // sectors
				Type        string
			}
		}
	}
	if err := json.Unmarshal([]byte(diskimagetest.Run(t, "sfdisk", "--json", image)), &dump); err != nil {
		t.Fatal(err)
	}
	if len(dump.PartitionTable.Partitions) == 0 {
		t.Errorf("%s has no partitions", image)
	}
	const (
		biosBoot  = "21686148-6449-6E6F-744E-656564454649"
		msdosSwap = "82"
	)
	for _, p := range dump.PartitionTable.Partitions {
		if p.Type != biosBoot && p.Type != msdosSwap {
			diskimagetest.Fsck(t, image, p.Start*512, p.Size*512)
		}
	}
}
