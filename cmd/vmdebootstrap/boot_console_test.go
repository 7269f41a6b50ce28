// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/serialconsole"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// diskWith writes a disk with a boot sector and an ext4 file system that has some files.
func diskWith(t *testing.T, files map[string]string) (image string) {
	t.Helper()
	then := time.Unix(1_700_000_000, 0)
	var entries []diskimage.Entry
	for name, content := range files {
		entries = append(entries, diskimage.FileEntry(name, 0o755, []byte(content), then))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(then), entries...)
	if err != nil {
		t.Fatal(err)
	}
	size := 16 * diskimage.MiB
	volume, err := (ext.Formatter{}).Plan(size, diskimage.Filesystem{Type: "ext4"}, tree)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(int64(size)), volume.Write(t.Context(), f))
	_, signErr := f.WriteAt([]byte{0x55, 0xaa}, 510)
	if err := errors.Join(err, signErr, f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// Issue 17, 4: an image without a serial console could not be tested.
func TestBootPutsASerialConsoleIntoASnapshot(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "qemu-img")
	for _, tt := range []struct {
		name, file, content string
		overlay, strings    bool
	}{
		{"without", "extlinux.conf", "# a comment makes room\nlabel linux\n append root=/dev/vda1 quiet\n", true, false},
		{"present", "extlinux.conf", "append root=/dev/vda1 console=ttyS0,115200\n", false, false},
		{"unknown", "etc/fstab", "# none\n", false, true},
	} {
		image := diskWith(t, map[string]string{tt.file: tt.content})
		before, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		var messages bytes.Buffer
		b := bootCall{machine: vm.Machine{Image: image, Format: "raw"}, err: &messages}
		if err := b.inspect(t.Context(), t.TempDir()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		m := b.machine
		if overlay := m.Image != image; overlay != tt.overlay || overlay && (m.Format != "qcow2" || !m.Snapshot) ||
			overlay != strings.Contains(messages.String(), "what the machine writes is discarded") {
			t.Errorf("%s: the machine has %s, %s; messages %q", tt.name, m.Image, m.Format, messages.String())
		}
		if got := len(m.Strings) > 0; got != tt.strings {
			t.Errorf("%s: strings %q", tt.name, m.Strings)
		}
		if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: the image was written to (%v)", tt.name, err)
		}
		if !tt.overlay {
			continue
		}
		raw := filepath.Join(t.TempDir(), "raw")
		diskimagetest.Run(t, "qemu-img", "convert", "-O", "raw", m.Image, raw)
		disk, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		found, err := serialconsole.Find(bytes.NewReader(disk), diskimage.Size(len(disk)), serialDevice)
		if err != nil || !found.Present {
			t.Errorf("%s: the overlay has no serial console: %+v (%v)", tt.name, found, err)
		}
	}
}

// TestBootShowsTheCommand uses a program that is not QEMU and ends at once.
func TestBootShowsTheCommand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	image := diskimagetest.MarkerDisk(t, "a disk.img")
	for display, screen := range map[string]bool{"": false, "DISPLAY=:0": true, "WAYLAND_DISPLAY=wayland-0": true} {
		var out, messages bytes.Buffer
		env := environment{dir: dir, etc: dir, now: time.Now, arch: "amd64", environ: []string{display}}
		status := run(t.Context(), []string{"boot", image, "--verbose", "--accel", "tcg"}, &out, &messages, env)
		text := messages.String()
		if status != exitOK || !strings.Contains(text, "-serial mon:stdio ") ||
			!strings.Contains(text, "-drive 'file="+image+",format=raw") {
			t.Errorf("%q: status %d, %q", display, status, text)
		}
		if got := !strings.Contains(text, "-display none"); got != screen {
			t.Errorf("%q: a screen: %v, want %v", display, got, screen)
		}
	}
}

func TestSSHAnswersIgnoresConnectionsThatAreClosed(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for _, greeting := range []string{"", "SSH-2.0-test\r\n"} {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(greeting))
			_ = conn.Close()
		}
	}()
	if !sshAnswers(t.Context(), server.Addr().(*net.TCPAddr).Port) {
		t.Error("the second connection was not seen")
	}
}

// The machine receives the public key only, and the private one is nowhere but in the temporary directory.
func TestPrepareSSHGivesTheMachineAKey(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "ssh-keygen")
	var b bootCall
	dir := t.TempDir()
	if err := b.prepareSSH(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if len(b.machine.Strings) != 2 || b.machine.SSHPort == 0 {
		t.Fatalf("got %q, port %d", b.machine.Strings, b.machine.SSHPort)
	}
	for i, want := range []struct{ name, pattern string }{
		{"io.systemd.credential.binary:ssh.authorized_keys.root=", `^ssh-ed25519 \S+ vmdebootstrap\n$`},
		{"io.systemd.credential.binary:tmpfiles.extra=",
			`^w\+ /root/.ssh/authorized_keys - - - - \\nssh-ed25519 \S+ vmdebootstrap\\n\n$`},
	} {
		text, ok := strings.CutPrefix(b.machine.Strings[i], want.name)
		content, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || !regexp.MustCompile(want.pattern).Match(content) {
			t.Errorf("got %q: %q (%v), want %s", b.machine.Strings[i], content, err, want.pattern)
		}
	}
}
