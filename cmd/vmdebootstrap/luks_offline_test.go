// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/containers/luksy"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/extread"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// Issue 19, 2: the system is in a LUKS2 container that each of the keys opens, and the keys are nowhere else.
func TestEncryptedImage(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	for _, name := range []string{"cryptsetup-initramfs", "initramfs-tools"} {
		o.repo.Add(archivetest.Deb{Name: name})
	}
	state, elsewhere := o.machine(), t.TempDir()
	const passphrase, keyFile, other = "the-passphrase", "the-key\nfile\n", "another-passphrase"
	for name, text := range map[string]string{"pass": passphrase + "\n", "key": keyFile, "other": other} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hook := "#!/bin/sh\nprintf '#!/bin/sh\\n' >\"$1/usr/bin/dpkg-divert\"\nchmod 755 \"$1/usr/bin/dpkg-divert\"\n"
	if err := os.WriteFile(filepath.Join(o.dir, "divert.sh"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--hook=essential:divert.sh", "--tarball=", "--image=out.img", "--size=auto", "--boot=none", "--update-initramfs",
		"--luks",
		"--luks-key-file=" + elsewhere + "/key", "--luks-recovery-key", "--manifest=out.json",
		"--provenance=out.provenance", "--log=build.log", "--log-level=debug",
	}
	text := o.build(state, append(args, "--luks-passphrase="+elsewhere+"/pass")...)
	printed := regexp.MustCompile(`recovery key of out\.img, .*: ([a-z-]{71})\n`).FindStringSubmatch(text)
	if printed == nil {
		t.Fatalf("no recovery key in\n%s", text)
	}
	recovery := printed[1]
	if strings.Count(text, recovery) != 1 || strings.Contains(text, passphrase) {
		t.Errorf("the build prints a key:\n%s", text)
	}
	grepTree(t, o.dir, []string{passphrase, "the-key", recovery})
	grepTree(t, state, []string{passphrase, "the-key", recovery})

	partition := rootPartition(t, filepath.Join(o.dir, "out.img"))
	for i, key := range []string{passphrase, keyFile, recovery, "wrong"} {
		cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "cryptsetup"), "open", "--test-passphrase",
			"--key-file=-", partition)
		cmd.Stdin = strings.NewReader(key)
		if output, err := cmd.CombinedOutput(); (err == nil) != (i < 3) {
			t.Errorf("key %d: %v: %s", i, err, output)
		}
	}
	system := decryptedTree(t, partition, passphrase)
	for name, want := range map[string]string{
		"etc/crypttab": `(?m)^root_crypt UUID=[0-9a-f-]{36} none luks,discard,initramfs$`,
		"etc/fstab":    `(?m)^UUID=[0-9a-f-]{36} / ext4 `,
	} {
		content, err := imagetree.ReadFile(system, name)
		if err != nil || !regexp.MustCompile(want).Match(content) {
			t.Errorf("%s (%v):\n%s", name, err, content)
		}
	}

	index, err := diskimage.NewIndex(system)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{enrolmentKey, "usr/local/sbin/enrol-tpm2", "etc/systemd/system/enrol-tpm2.service"} {
		if _, ok := index[name]; ok {
			t.Errorf("%s without --luks-tpm2", name)
		}
	}

	// The keys are those of the image, not of the root file system: with another one no step runs again.
	again := append(slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--luks-") }),
		"--luks-passphrase="+elsewhere+"/other")
	if text = o.build(state, again...); strings.Contains(text, "\nrun: ") {
		t.Errorf("another passphrase:\n%s", text)
	}
	decryptedTree(t, rootPartition(t, filepath.Join(o.dir, "out.img")), other)
	if text = o.build(state, append(again, "--lock-file=out.lock")...); !strings.Contains(text,
		"no two images with --luks are equal") {
		t.Errorf("with a lock:\n%s", text)
	}
	grepTree(t, o.dir, []string{other})

	// What is no file may be the passphrase itself, and is shown nowhere.
	text, err = o.try(state, append(again, "--luks-passphrase=mistaken-passphrase")...)
	if err == nil || !strings.Contains(text, "ERROR: --luks-passphrase: ") || strings.Contains(text, "mistaken") {
		t.Errorf("got %v\n%s", err, text)
	}
	if text, err = o.try(state, append(again, "--luks-passphrase=")...); err == nil ||
		!strings.Contains(text, "ERROR: --luks: there is no passphrase that could be typed at the boot") {
		t.Errorf("got %v\n%s", err, text)
	}
}

// enrolmentKey is the file with the key of --luks-tpm2.
const enrolmentKey = "etc/enrol-tpm2.key"

// Issue 19, 2: the key with which a machine enrols its TPM is in the encrypted root file system, and nowhere else.
func TestEnrolmentKeyIsOnlyInTheEncryptedFileSystem(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	for _, name := range []string{"cryptsetup-initramfs", "initramfs-tools", "clevis-initramfs", "clevis-tpm2"} {
		o.repo.Add(archivetest.Deb{Name: name})
	}
	state, elsewhere := o.machine(), t.TempDir()
	const passphrase = "the-passphrase"
	if err := os.WriteFile(filepath.Join(elsewhere, "pass"), []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	divert := "#!/bin/sh\nprintf '#!/bin/sh\\n' >\"$1/usr/bin/dpkg-divert\"\nchmod 755 \"$1/usr/bin/dpkg-divert\"\n"
	if err := os.WriteFile(filepath.Join(o.dir, "divert.sh"), []byte(divert), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--hook=essential:divert.sh", "--image=out.img", "--size=auto", "--boot=none", "--update-initramfs", "--luks",
		"--luks-tpm2", "--luks-passphrase=" + elsewhere + "/pass", "--manifest=out.json", "--provenance=out.provenance",
		"--report=out.html", "--log=build.log", "--log-level=debug", "--export=oci:layout",
		"--export-compression=none", "--export=tar:out.tar", "--tarball=",
	}
	var keys []string
	for _, more := range []string{"--verbose", "--lock-file=out.lock"} {
		text := o.build(state, append(args, more)...)
		partition := rootPartition(t, filepath.Join(o.dir, "out.img"))
		system := decryptedTree(t, partition, passphrase)
		key, err := imagetree.ReadFile(system, enrolmentKey)
		if err != nil || len(key) != 71 {
			t.Fatalf("%q (%v)", key, err)
		}
		decryptedTree(t, partition, string(key))
		index, err := diskimage.NewIndex(system)
		if err != nil {
			t.Fatal(err)
		}
		if file := index[enrolmentKey]; file.Mode != unix.S_IFREG|0o600 || file.UID != 0 || file.GID != 0 {
			t.Errorf("%s: %+v", enrolmentKey, file)
		}
		for _, name := range []string{"usr/local/sbin/enrol-tpm2", "etc/systemd/system/enrol-tpm2.service"} {
			if _, ok := index[name]; !ok {
				t.Errorf("no %s", name)
			}
		}
		keys = append(keys, string(key))
		if strings.Contains(text, string(key)) {
			t.Errorf("the build prints the key:\n%s", text)
		}
		grepTree(t, o.dir, keys)
		grepTree(t, state, keys)
	}
	if keys[0] == keys[1] {
		t.Error("two images have the same key")
	}
	if has := o.has(enrolmentKey, "usr/local/sbin/enrol-tpm2"); has != "usr/local/sbin/enrol-tpm2" {
		t.Errorf("the tar archive has %q", has)
	}
}

// rootPartition copies the root partition of a raw image to a file.
func rootPartition(t *testing.T, image string) string {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	table, err := diskimage.ReadTable(bytes.NewReader(data), diskimage.Size(len(data)))
	if err != nil || len(table) != 1 {
		t.Fatalf("%d partitions: %v", len(table), err)
	}
	name := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(name, data[table[0].Start:table[0].Start+table[0].Size], 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// decryptedTree returns the ext4 file system in a LUKS2 container, decrypted by luksy.
func decryptedTree(t *testing.T, name, key string) diskimage.Tree {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, header, _, metadata, err := luksy.ReadHeaders(f, luksy.ReadHeaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	decrypt, _, offset, length, err := header.Decrypt(key, f, *metadata)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, length)
	if _, err := f.ReadAt(data, offset); err != nil {
		t.Fatal(err)
	}
	if data, err = decrypt(data); err != nil {
		t.Fatal(err)
	}
	tree, err := extread.New(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
