// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// bootable is the least that a root file system needs to boot.
func bootable() map[string]string {
	return map[string]string{
		"boot/vmlinuz-6.1": "kernel", "boot/initrd.img-6.1": "initrd", "usr/lib/systemd/systemd": "init",
		"usr/lib/systemd/systemd-udevd": "udev", "lib": "-> usr/lib", "sbin/init": "-> /usr/lib/systemd/systemd",
		"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": "ID=debian\nVERSION_CODENAME=trixie\n",
		"var/lib/dpkg/status": "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n",
	}
}

// newAssembly has the options of a call without any, and an image in a directory of the test.
func newAssembly(t *testing.T, change func(*Options)) *Assembly {
	t.Helper()
	o := DefaultOptions()
	o.Image, o.SizeAuto, o.Distribution = filepath.Join(t.TempDir(), "disk.img"), true, ""
	if change != nil {
		change(&o)
	}
	w := testWorld()
	w.Stat, w.ReadFile = os.Stat, os.ReadFile
	return &Assembly{Options: o, World: w, Lock: Lock{Seed: uuid.Max, Time: treeTime}}
}

// fileOf is the content of a file of this machine's packages.
func fileOf(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(diskimagetest.File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// imageTree returns the files of the image that was written.
func imageTree(t *testing.T, a *Assembly) diskimage.Tree {
	t.Helper()
	data, err := os.ReadFile(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := imagetree.Open(bytes.NewReader(data), diskimage.Size(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// written returns the contents of files of the image.
func written(t *testing.T, a *Assembly, names ...string) map[string]string {
	t.Helper()
	index, err := diskimage.NewIndex(imageTree(t, a))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := index.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// Issue 14, 13: what docker export writes became a machine that took itself for a container, without a name.
func TestAssemblyOfAContainerIsAMachine(t *testing.T) {
	t.Parallel()
	files := bootable()
	for _, name := range []string{".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev/console"} {
		files[name] = ""
	}
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	got := map[string]diskimage.Entry{}
	for e, err := range imageTree(t, a).Entries() {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name] = e
	}
	for _, name := range []string{".dockerenv", "etc/hostname", "etc/resolv.conf"} {
		if _, there := got[name]; there {
			t.Errorf("%s is in the image", name)
		}
	}
	if text := written(t, a, "etc/hosts")["etc/hosts"]; !strings.HasPrefix(text, "127.0.0.1\tlocalhost\n") {
		t.Errorf("/etc/hosts is %q", text)
	}
	if console := got["dev/console"]; console.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Errorf("/dev/console has mode %o", console.Mode)
	}
}

func TestAssemblyOfAMachineKeepsItsFiles(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/hostname"], files["etc/hosts"], files["etc/resolv.conf"] = "mine\n", "192.0.2.1 a\n",
		"nameserver 192.0.2.1\n"
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	for name, text := range written(t, a, "etc/hostname", "etc/hosts", "etc/resolv.conf") {
		if text != files[name] {
			t.Errorf("%s is %q", name, text)
		}
	}
}

func TestAssemblyWritesWhatDependsOnTheDisk(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/fstab"] = "# a comment\nUUID=old / ext4 ro 0 1\nUUID=old /boot ext2 ro 0 1\ntmpfs /tmp tmpfs size=1G 0 0\nserver:/x /home nfs defaults 0 0\n"
	files["etc/kernel/cmdline"] = "root=UUID=old ro quiet\n"
	files["extlinux.conf"] = "of another disk\n"
	files["usr/bin/extlinux"] = fileOf(t, "/usr/bin/extlinux")
	for _, name := range []string{"modules/bios/ldlinux.c32", "mbr/mbr.bin", "mbr/gptmbr.bin"} {
		files["usr/lib/syslinux/"+name] = fileOf(t, "/usr/lib/syslinux/"+name)
	}
	a := newAssembly(t, func(o *Options) { o.Bootsize = 20 * diskimage.MiB })
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	texts := written(t, a, "etc/fstab", "etc/kernel/cmdline", "boot/extlinux.conf",
		"etc/kernel/postinst.d/zz-update-extlinux", "boot/ldlinux.sys")
	root := diskimage.DeriveID(uuid.Max, "/").String()
	for name, wants := range map[string][]string{
		"etc/fstab": {"UUID=" + root + " / ext4 ", " /boot ext2 ", "\ntmpfs /tmp tmpfs size=1G 0 0\n",
			"server:/x /home"},
		"etc/kernel/cmdline": {"root=UUID=" + root + " ro quiet\n"},
		"boot/extlinux.conf": {"\tkernel /vmlinuz-6.1\n\tappend initrd=/initrd.img-6.1 root=UUID=" + root +
			" ro quiet\n"},
	} {
		for _, want := range wants {
			if !strings.Contains(texts[name], want) || strings.Contains(texts[name], "old") {
				t.Errorf("%s has no %q:\n%s", name, want, texts[name])
			}
		}
	}
}

func TestAssemblyNamesAllThatIsMissingAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Options)
		remove []string
		wants  []string
	}{
		{"a container", nil, []string{"boot/vmlinuz-6.1", "boot/initrd.img-6.1", "sbin/init"}, []string{
			"--extlinux: the root file system has no kernel (/boot/vmlinuz-VERSION): add a package like linux-image-amd64", "has no /sbin/init", "--boot=none",
		}},
		{"no initramfs", func(o *Options) { o.Boot = boot.WordExtlinux }, []string{"boot/initrd.img-6.1"},
			[]string{"--boot: kernel 6.1 has no initramfs (/boot/initrd.img-6.1)",
				": make it with update-initramfs -c -k 6.1, or write"}},
		{"no udev", nil, []string{"usr/lib/systemd/systemd-udevd"}, []string{
			"--extlinux: the root file system has no udev",
			": add the package udev to it, or write an image that does not boot"}},
		{"another distribution", nil, []string{"var/lib/dpkg/status", "boot/vmlinuz-6.1", "boot/initrd.img-6.1"}, []string{
			"--from: the root file system is that of an unknown distribution, without dpkg, so no package of Debian adds",
			"has no kernel (/boot/vmlinuz-VERSION): write an image that does not boot with --boot=none"}},
		{"systemd-boot", func(o *Options) { o.Boot, o.PartType = boot.WordSystemdBoot, "gpt" }, nil, []string{
			"--boot: the root file system has no /usr/lib/systemd/boot/efi/systemd-bootx64.efi: add the package systemd-boot-efi", "linuxx64.efi.stub",
		}},
		{"blobs", func(o *Options) {
			o.Boot, o.Blobs = boot.WordNone, []Blob{{File: "/usr/lib/u-boot.bin", Rootfs: true, Offset: diskimage.MiB}}
			o.Bootoffset = 16 * diskimage.MiB
		}, nil, []string{"--raw: the root file system has no file /usr/lib/u-boot.bin"}},
		{"another architecture", func(o *Options) { o.Arch, o.Boot = "arm64", boot.WordNone }, nil,
			[]string{"--arch: the root file system is of amd64, not of arm64"}},
	} {
		files := bootable()
		for _, name := range tt.remove {
			delete(files, name)
		}
		a := newAssembly(t, tt.change)
		err := a.Write(t.Context(), memoryTree(t, files))
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		for _, want := range tt.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", tt.name, err, want)
			}
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(a.Options.Image), "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %q", tt.name, left)
		}
	}
}

// What the machine is on which an image is assembled does not matter.
func TestAssemblyForAPCWorksElsewhere(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	a.World.HostArch = "arm64"
	if err := errors.Join(a.Check(), a.Write(t.Context(), memoryTree(t, bootable()))); err != nil {
		t.Error(err)
	}
	a.Options.Boot = boot.WordExtlinux
	if err := a.Check(); err != nil {
		t.Error(err)
	}
}

func TestAssemblySaysWhichSizeIsTooSmall(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["big"] = strings.Repeat("x", 120<<20)
	a := newAssembly(t, func(o *Options) { o.Boot, o.SizeAuto, o.Size = boot.WordNone, false, 101*diskimage.MB })
	err := a.Write(t.Context(), memoryTree(t, files))
	var p *problem.Problem
	if !errors.As(err, &p) || p.Flag != "--size" {
		t.Errorf("got %v", err)
	}
}

func TestAssemblyKnowsReleaseAndArchitecture(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		files   map[string]string
		release string
		arch    string
	}{
		{"usual", nil, "trixie", "amd64"},
		{"wheezy", map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"7\"\n"}, "wheezy", "amd64"},
		{"jammy", map[string]string{"etc/os-release": "ID=ubuntu\nVERSION_ID=\"22.04\"\nVERSION_CODENAME=jammy\n"},
			"jammy", "amd64"},
		{"another distribution", map[string]string{"etc/os-release": "ID=fedora\nVERSION_ID=40\n",
			"var/lib/dpkg/status": ""}, "", ""},
		{"a program", map[string]string{"var/lib/dpkg/status": "", "bin/sh": string(program(headerOf("arm64"), false))},
			"trixie", "arm64"},
	} {
		files := bootable()
		maps.Copy(files, tt.files)
		got, err := identify(memoryFiles(t, files))
		if err != nil || got != (system{tt.release, tt.arch}) {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
}

// Issue 19, 1: each line for a Containerfile has all that is needed for one part.
func TestPartsOfADiskAreAddedByOneLineEach(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		remedy        remedy
		packages      string
		commands      []string
		alone, choice string
	}{
		{remedy{containerfile: true, dpkg: true}, "udev", nil,
			": add to the Containerfile: RUN apt-get update && apt-get install -y udev",
			": add to the Containerfile: RUN apt-get update && apt-get install -y udev; or go"},
		{remedy{containerfile: true, dpkg: true}, "a b", []string{"c"},
			": add to the Containerfile: RUN apt-get update && apt-get install -y a b && c",
			": add to the Containerfile: RUN apt-get update && apt-get install -y a b && c; or go"},
		{remedy{dpkg: true}, "udev", []string{"c"}, ": add the package udev to it", ": add the package udev to it, or go"},
		{remedy{containerfile: true}, "udev", nil, "", ": go"},
	} {
		alone := tt.remedy.add(tt.packages, "", tt.commands...)
		choice := tt.remedy.add(tt.packages, "go", tt.commands...)
		if alone != tt.alone || choice != tt.choice {
			t.Errorf("%+v: got %q and %q, want %q and %q", tt.remedy, alone, choice, tt.alone, tt.choice)
		}
	}
}
