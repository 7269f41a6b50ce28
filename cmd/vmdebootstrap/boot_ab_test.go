// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot && matrix

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// TestUpdateStartsInTheOtherSlotOrIsTakenBack boots version 1 of an image, which gets version 2 from a server with
// systemd-sysupdate, and version 2 from the other slot. A damaged version 2 fails three times; then version 1 starts.
func TestUpdateStartsInTheOtherSlotOrIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	updates := filepath.Join(dir, "updates")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.FileServer(http.Dir(updates)),
		ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	signer, key := updateKey(t, dir)
	build := func(version string) string {
		return buildImage(t, slowMachine, "--size", "auto", "--verity", "--roottype", "squashfs", "--boot", "systemd-boot",
			"--part-type", "gpt", "--hostname", "kiosk", "--image-version", version, "--ab-artifacts", updates, "--ab-key", key,
			"--root-password", "geheim", "--ab",
			fmt.Sprintf("http://10.0.2.2:%d/", listener.Addr().(*net.TCPAddr).Port)) // the host, as QEMU's guests see it
	}
	image := build("1")
	os.Remove(build("2"))
	sign(t, updates, signer)

	const state = `. /etc/os-release; echo now $IMAGE_VERSION on $(readlink -f /run/systemd/volatile-root); ` +
		`systemctl --failed --no-legend --plain; `
	run := func(image, script string) string {
		return diskimagetest.Boot(t, image, diskimagetest.BootOptions{
			Firmware: diskimagetest.UEFI, Keep: true, Memory: 2048, Timeout: 20 * time.Minute,
			Args: []string{"-nic", "user,model=virtio-net-pci"}, Want: "Power down|System halted",
			Session: []diskimagetest.Exchange{
				{Want: "login: ", Send: "root\n"}, {Want: "Password: ", Send: "geheim\n"},
				{Want: "root@kiosk:~# ", Send: "export PAGER=cat; " + state + script + "; poweroff\n"},
			},
		})
	}
	const sysupdate = "/usr/lib/systemd/systemd-sysupdate --no-pager "
	console := run(image, "/usr/lib/systemd/systemd-networkd-wait-online; "+sysupdate+"list; "+sysupdate+
		"update; echo updated $?")
	wantOnConsole(t, console, "now 1 on /dev/vda1", "updated 0")
	got, want := labels(t, image), []string{"kiosk_1", "kiosk_1_verity", "kiosk_2", "kiosk_2_verity"}
	if !slices.Equal(got, want) {
		t.Errorf("after the update the partitions are %q, want %q", got, want)
	}
	wantKernels(t, image, "kiosk_1.efi", "kiosk_2+3-0.efi")

	damaged := filepath.Join(dir, "damaged.img")
	diskimagetest.Run(t, "cp", "--sparse=always", image, damaged)
	console = run(image, "systemctl start boot-complete.target systemd-bless-boot.service; echo blessed $?")
	wantOnConsole(t, console, "now 2 on /dev/vda3", "blessed 0")
	wantKernels(t, image, "kiosk_1.efi", "kiosk_2.efi")

	flipBit(t, damaged, 3, 8) // the time at which the squashfs was made
	for try := range 3 {
		diskimagetest.Boot(t, damaged, diskimagetest.BootOptions{Firmware: diskimagetest.UEFI, Keep: true, Memory: 2048,
			Timeout: 20 * time.Minute, Want: "verity: .* data block 0 is corrupted"})
		wantKernels(t, damaged, "kiosk_1.efi", fmt.Sprintf("kiosk_2+%d-%d.efi", 2-try, try+1))
	}
	wantOnConsole(t, run(damaged, "true"), "now 1 on /dev/vda1")
}

// updateKey returns a new key that signs updates, and the file of its public key.
func updateKey(t *testing.T, dir string) (*openpgp.Entity, string) {
	t.Helper()
	key, err := openpgp.NewEntity("updates", "", "updates@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "updates.gpg")
	if err := os.WriteFile(name, public.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return key, name
}

// sign signs the list of updates as "gpg --detach-sign" does.
func sign(t *testing.T, dir string, key *openpgp.Entity) {
	t.Helper()
	list, err := os.Open(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	var signature bytes.Buffer
	if err := openpgp.DetachSign(&signature, key, list, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list.Name()+".gpg", signature.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// labels returns the labels of the partitions that have one.
func labels(t *testing.T, image string) []string {
	t.Helper()
	var labels []string
	for _, p := range readDisk(t, image).Partitions {
		if p.Label != "" {
			labels = append(labels, p.Label)
		}
	}
	return labels
}

// wantKernels checks the names of the kernel images.
func wantKernels(t *testing.T, image string, want ...string) {
	t.Helper()
	var got []string
	for _, f := range readDisk(t, image).FileSystems {
		if f.Type != "vfat" {
			continue
		}
		for e, err := range f.Tree.Entries() {
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := strings.CutPrefix(e.Name, "EFI/Linux/"); ok {
				got = append(got, name)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the kernel images are %q, want %q", got, want)
	}
}

// readDisk reads a raw image, which is open until the test ends.
func readDisk(t *testing.T, image string) *imagetree.Disk {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := imagetree.ReadDisk(f, diskimage.Size(info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return disk
}
