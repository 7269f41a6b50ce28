// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestLiveMediumBoots builds a medium, makes the same of a tarball of the same system, and boots it as a CD by a BIOS.
// live-config makes its user there, while the machine makes its keys: both use debconf, which serves one at a time.
// diskimage/grub tests the way to the menu with Secure Boot and as a disk, make test-matrix that to the login prompt.
func TestLiveMediumBoots(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "for.txt"), []byte("for the medium\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	makeLive(t, dir, "--iso=live.iso", "--iso-label=live-test", "--export=tar:root.tar", "--package=live-config",
		"--package=live-config-systemd", "--package=user-setup", "--package=sudo", "--package=ssl-cert",
		"--copy-in=for.txt:/var/lib/live/medium/pool/")
	iso := filepath.Join(dir, "live.iso")
	diskimagetest.Run(t, "sfdisk", "--verify", iso)
	if got := diskimagetest.Run(t, "sgdisk", "-v", iso); !strings.Contains(got, "No problems found") {
		t.Errorf("sgdisk says\n%s", got)
	}
	files := diskimagetest.Run(t, "bsdtar", "-tf", iso)
	for _, want := range []string{"live/filesystem.squashfs\n", "live/vmlinuz-", "live/initrd.img-",
		"boot/grub/grub.cfg\n", "pool/for.txt\n"} {
		if !strings.Contains(files, want) {
			t.Errorf("the medium has\n%s\nand no %q", files, want)
		}
	}
	diskimagetest.Run(t, "bsdtar", "-xf", iso, "-C", dir, "live/filesystem.squashfs")
	squashfs := diskimagetest.Run(t, "unsquashfs", "-s", filepath.Join(dir, "live", "filesystem.squashfs"))
	if !strings.Contains(squashfs, "Compression zstd") {
		t.Errorf("unsquashfs says\n%s", squashfs)
	}
	list := diskimagetest.Run(t, "unsquashfs", "-l", filepath.Join(dir, "live", "filesystem.squashfs"))
	if !strings.Contains(list, "/var/lib/live/medium\n") || strings.Contains(list, "for.txt") {
		t.Error("a file for the medium is in the squashfs")
	}
	runIn(t, dir, "assemble", "--from=root.tar", "--iso=again.iso", "--serial-console", "--iso-label=live-test")
	again := diskimagetest.Run(t, "bsdtar", "-xOf", filepath.Join(dir, "again.iso"), "pool/for.txt")
	if again != "for the medium\n" {
		t.Errorf("the medium of the tarball has %q for it", again)
	}
	bootLive(t, iso, diskimagetest.BootOptions{CD: true, Want: "keys=[0-9]", Session: []diskimagetest.Exchange{
		{Want: "end=[0-9]", Send: "su user -c 'echo $(id -un) $(sudo id -un)'; " +
			"test -s /etc/ssl/private/ssl-cert-snakeoil.key; echo keys=$?\n"}}},
		"GRUB", `user root\r?\n`, "keys=0")
}

// makeLive builds a small live system in a directory.
func makeLive(t *testing.T, dir string, options ...string) {
	t.Helper()
	hook := filepath.Join(t.TempDir(), "slow.sh")
	if err := os.WriteFile(hook, []byte(slowMachine), 0o755); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, append(options, "--customize="+hook, "--distribution=stable", "--debootstrapopts=variant=minbase", "--no-acpid",
		"--serial-console", "--root-password=x")...)
}

// runIn runs the program in a directory, with the time of a build that can be repeated.
func runIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := vmdebootstrap(t, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// liveSession logs in to a medium with the root password x and prints a line about the system, which the echo of the
// command does not match.
var liveSession = []diskimagetest.Exchange{
	{Want: "login: ", Send: "root\n"},
	{Want: "Password: ", Send: "x\n"},
	{Want: "root@debian:~# ", Send: "echo state=$(systemctl is-system-running --wait) " +
		"failed=$(systemctl --failed --no-legend | grep -c .) $(systemctl --failed --no-legend --plain) " +
		"root=$(findmnt -no FSTYPE /) medium=$(findmnt -no FSTYPE,SOURCE /run/live/medium) kept=$(cat kept) " +
		"secure=$(dmesg | grep -c 'Secure boot enabled') $(cat /proc/cmdline) end=$?\n"},
}

// bootLive boots a medium to its login prompt, logs in, continues with o.Session, and expects a system that is that of
// the medium, with all its units, and each of want on the console.
func bootLive(t *testing.T, iso string, o diskimagetest.BootOptions, want ...string) {
	t.Helper()
	o.Session = slices.Concat(liveSession, o.Session)
	o.Want, o.Memory, o.Timeout = cmp.Or(o.Want, "end=[0-9]"), 1024, 20*time.Minute
	console := diskimagetest.Boot(t, iso, o)
	wantOnConsole(t, console, append(want, "state=running failed=0 root=overlay medium=iso9660 .* boot=live .*end=0")...)
	// live-boot cannot write it where ifupdown is not installed.
	if complaint := "/etc/network/interfaces"; strings.Contains(console, complaint) {
		t.Errorf("the console shows %q", complaint)
	}
}
