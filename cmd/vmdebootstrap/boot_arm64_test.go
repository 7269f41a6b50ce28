// SPDX-License-Identifier: Apache-2.0

//go:build boot

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// arm64Witness is a hook that adds a service which reports on the console what the booted system is. That it can enable
// the service shows that hooks run programs of the image's architecture.
const arm64Witness = `#!/bin/sh
set -eu
test "$(chroot "$1" uname -m)" = aarch64
test "$(chroot "$1" dpkg --print-architecture)" = arm64
cat > "$1/etc/systemd/system/witness.service" <<'EOF'
[Unit]
Before=getty.target serial-getty@ttyAMA0.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "witness NONCE $(uname -m) failed=$(systemctl --failed --no-legend | grep -c .)" > /dev/ttyAMA0'

[Install]
WantedBy=multi-user.target
EOF
chroot "$1" systemctl enable witness.service
`

// TestForeignImageBoots builds an arm64 image on a machine of another architecture. Emulation makes a build four times
// as long, so this one has few packages and the small kernel for clouds.
func TestForeignImageBoots(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("this machine runs arm64 programs without emulation")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "arm64.img")
	nonce := fmt.Sprint("arm64-", os.Getpid())
	hook := filepath.Join(dir, "witness.sh")
	if err := os.WriteFile(hook, []byte(strings.ReplaceAll(arm64Witness, "NONCE", nonce)), 0o755); err != nil {
		t.Fatal(err)
	}
	before := emulators(t)
	cmd := vmdebootstrap(t, "--image", image, "--size", "1500MB", "--arch", "arm64", "--grub", "--use-uefi",
		"--serial-console", "--kernel-package", "linux-image-cloud-arm64", "--debootstrapopts", "variant=minbase",
		"--no-acpid", "--customize", hook, "--pkglist", "--verbose")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	t.Logf("vmdebootstrap:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if after := emulators(t); after != before {
		t.Errorf("the host's emulators were %q, now are %q", before, after)
	}
	if list := readFile(t, filepath.Join(dir, "dpkg.list")); strings.Contains(list, "qemu") ||
		!strings.Contains(list, "grub-efi-arm64") {
		t.Errorf("the image's packages:\n%s", list)
	}
	console := diskimagetest.Boot(t, image, diskimagetest.BootOptions{Arch: "arm64", Want: "login: ",
		Timeout: 10 * time.Minute})
	for _, want := range []string{"GRUB", "witness " + nonce + " aarch64 failed=0"} {
		if !strings.Contains(console, want) {
			t.Errorf("the console never showed %q", want)
		}
	}
}

// emulators returns the emulators registered on the host and its mounts, of which the table of emulators may be one.
func emulators(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ") + "\n" + readFile(t, "/proc/mounts")
}
