// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

func TestResultNamesOutputsLoginsAndHowToStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 3_000_000); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.pub")
	if err := os.WriteFile(key, []byte("ssh-ed25519 AAAA\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	hash := builder.PasswordHash{User: "root", Hash: builder.NewSecret("$6$salt$" + strings.Repeat("a", 86))}
	for _, tt := range []struct {
		name   string
		change func(*builder.Options)
		want   []string
	}{
		{"default", func(*builder.Options) {}, []string{
			"who can log in: root without a password", "start it with: vmdebootstrap boot " + image,
			"or with QEMU alone: qemu-system-x86_64 -accel kvm -accel tcg -m 1024 -drive " +
				"file=" + image + ",format=raw,if=virtio"}},
		{"locked, by UEFI", func(o *builder.Options) {
			o.LockRootPassword, o.Grub, o.UseUEFI, o.SerialConsole = true, true, true, true
		}, []string{
			"who can log in: nobody: root is locked, and --user adds nobody else",
			"start it with: vmdebootstrap boot " + image + " --firmware uefi --serial",
			"or with QEMU alone: qemu-system-x86_64 -accel kvm -accel tcg -m 1024 -bios /usr/share/ovmf/OVMF.fd " +
				"-nographic -drive file=" + image + ",format=raw,if=virtio"}},
		{"another machine", func(o *builder.Options) {
			o.LockRootPassword, o.Arch, o.Grub, o.UseUEFI = true, "arm64", true, true
		}, []string{
			"who can log in: nobody: root is locked, and --user adds nobody else",
			"start it with: vmdebootstrap boot " + image + " --arch arm64 --firmware uefi",
			"or with QEMU alone: qemu-system-aarch64 -accel kvm -accel tcg -m 1024 -machine virt -cpu cortex-a57 " +
				"-bios /usr/share/qemu-efi-aarch64/QEMU_EFI.fd -drive file=" + image + ",format=raw,if=virtio"}},
		{"a board", func(o *builder.Options) {
			o.LockRootPassword, o.Arch, o.Boot, o.SerialConsole = true, "riscv64", "u-boot", true
		}, []string{
			"who can log in: nobody: root is locked, and --user adds nobody else",
			"start it with: vmdebootstrap boot " + image + " --arch riscv64 --serial",
			"or with QEMU alone: qemu-system-riscv64 -accel kvm -accel tcg -m 1024 -machine virt -kernel " +
				"/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin -nographic -drive file=" + image + ",format=raw,if=virtio"}},
		{"users of cloud-init, no boot loader", func(o *builder.Options) {
			o.LockRootPassword, o.CloudInit, o.Boot = true, true, "none"
		}, []string{"who can log in: whom cloud-init adds"}},
		{"keys of root, no boot loader", func(o *builder.Options) {
			o.LockRootPassword, o.SSHKeys, o.Boot = true, []string{key}, "none"
		}, []string{"who can log in: root with an SSH key"}},
		{"keys of root only, no boot loader", func(o *builder.Options) {
			o.LockRootPassword, o.Users, o.Boot = true, []builder.User{{Name: "ann"}}, "none"
			o.AuthorizedKeys = []builder.AuthorizedKeys{{User: "root", File: key}}
		}, []string{"who can log in: root with an SSH key, ann"}},
		{"keys of a user, a hash of root, no boot loader", func(o *builder.Options) {
			o.SSHKeys, o.Users, o.Boot = []string{key}, []builder.User{{Name: "ann"}}, "none"
			o.PasswordHashes = []builder.PasswordHash{hash}
		}, []string{"who can log in: root with the password that was given, ann with an SSH key or the password"}},
		{"no boot loader", func(o *builder.Options) { o.Boot = "none" },
			[]string{"who can log in: root without a password"}},
		{"none by an older option", func(o *builder.Options) { o.Extlinux = false },
			[]string{"who can log in: root without a password"}},
	} {
		o := builder.DefaultOptions()
		o.Image, o.Size, o.Arch = image, 2_000_000_000, "amd64"
		tt.change(&o)
		spec, err := builder.NewSpec(o, builder.World{Stat: os.Stat, Dir: dir, HostArch: "amd64",
			Today: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		r := builtFrom(spec)
		r.Seconds, r.Usage = 61.7, progress.Usage{Steps: 3, Cached: 9, Downloaded: 1_000_000, FromCache: 2_500_000}
		want := slices.Concat([]string{"wrote " + image + ": 3.0 MB, 0.0 MB of them on disk, raw"}, tt.want,
			[]string{"from the cache: 9 of 12 steps, 2.5 of 3.5 MB of packages", "done in 1m2s"})
		if got := resultLines(r); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
	}
}

func TestCommandLinesAreQuotedForAShell(t *testing.T) {
	t.Parallel()
	got := shellLine([]string{"qemu", "-drive", "file=/tmp/a,,b.img,if=virtio", "it's here", "$HOME", ""})
	if want := `qemu -drive file=/tmp/a,,b.img,if=virtio 'it'\''s here' '$HOME' ''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
