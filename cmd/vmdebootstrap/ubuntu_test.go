// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// ubuntuArchive starts an archive with the shape of Ubuntu's: its suites and components, pockets in the same place, no
// architecture "all", a kernel behind the name of Ubuntu's, and the archive's key in the package ubuntu-keyring. All
// packages but a few made-up ones are Debian's.
func ubuntuArchive(t *testing.T) *archivetest.Repository {
	t.Helper()
	mirror, ok := archive.HostMirror(os.DirFS("/"))
	if !ok {
		t.Fatal("this machine has no Debian mirror in its apt sources")
	}
	repo := archivetest.NewRepository(t, "resolute", "resolute-updates", "resolute-security")
	repo.Configure(archivetest.Options{NoAll: true})
	repo.Forward(mirror)
	system, _ := smallSystem(t, strings.TrimRight(mirror, "/")+"/", "trixie", "systemd-sysv", "systemd-resolved", "udev",
		"initramfs-tools", "iproute2", "linux-image-cloud-amd64", "acpid", "hello")
	for stanza := range strings.SplitAfterSeq(system, "\n\n") {
		component := "main"
		switch name, _, _ := strings.Cut(strings.TrimPrefix(stanza, "Package: "), "\n"); name {
		case "acpid", "hello":
			component = "universe"
		}
		repo.Import("resolute", component, stanza)
	}
	key, err := os.ReadFile(repo.KeyringFile())
	if err != nil {
		t.Fatal(err)
	}
	release := archivetest.Deb{Name: "made-up-release", Architecture: "all", Version: "26.04", Priority: "required"}
	repo.AddTo("resolute", release,
		archivetest.Deb{Name: "linux-image-virtual", Depends: "linux-image-cloud-amd64"},
		archivetest.Deb{Name: "ubuntu-keyring", Architecture: "all", Priority: "required", Files: []archivetest.File{
			{Name: "usr/share/keyrings/ubuntu-archive-keyring.gpg", Content: string(key)}}})
	for suite, version := range map[string]string{"resolute-updates": "26.04.1", "resolute-security": "26.04.2"} {
		release.Version = version
		repo.AddTo(suite, release)
		repo.Import(suite, "universe", "")
	}
	return repo
}

// Issue 19, 7: no archive of Ubuntu can be reached. The toolbox's debootstrap does not know resolute.
func TestImageOfUbuntusShape(t *testing.T) {
	repo := ubuntuArchive(t)
	dir := t.TempDir()
	// The image's apt takes the files of the archive, which the key in the image signs, and packages of both components:
	// the witness installs one.
	nonce := fmt.Sprintf("ubuntu-%d", os.Getpid())
	hook := strings.ReplaceAll(witness, "NONCE", nonce) + `
chroot "$1" apt-get -o APT::Update::Error-Mode=any update
chroot "$1" dpkg-query --show --showformat '${Package} ${Version}\n' >packages
cp "$1/etc/apt/sources.list.d/base.sources" .
ls "$1/boot" >boot
`
	if err := os.WriteFile(filepath.Join(dir, "hook.sh"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := vmdebootstrap(t, "--image", "ubuntu.img", "--size", "2G", "--distribution", "resolute", "--mirror", repo.URL(),
		"--debootstrapopts", "variant=minbase keyring="+repo.KeyringFile(), "--pockets", "updates,security",
		"--configure-apt", "--serial-console", "--kernel-package", "linux-image-virtual", "--package", "iproute2",
		"--customize", "hook.sh", "--verbose")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1") // apt knows no other exception for it
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, wants := range map[string][]string{
		"packages":     {"made-up-release 26.04.2\n", "linux-image-virtual ", "initramfs-tools ", "acpid ", "hello "},
		"base.sources": {"\nSuites: resolute resolute-updates resolute-security\n", "\nComponents: main universe\n"},
		"boot":         {"vmlinuz-"},
	} {
		text := readFile(t, filepath.Join(dir, file))
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", file, want, text)
			}
		}
	}
	bootWitness(t, filepath.Join(dir, "ubuntu.img"), "SYSLINUX", nonce, diskimagetest.BootOptions{})
}
