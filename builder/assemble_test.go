// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
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

// TestAssemblyIsTheSameFromEverySource has the same files as a tarball, as a container image of three layers, and as an
// archive of it.
func TestAssemblyIsTheSameFromEverySource(t *testing.T) {
	t.Parallel()
	states := []map[string]string{bootable(), bootable(), bootable()}
	states[0]["gone"], states[0]["d/e/gone"], states[1]["d/f"] = "", "x", "one"
	states[2]["d/f"], states[2]["big"] = "two", strings.Repeat("some text ", 100_000)
	dir := t.TempDir()
	layout, err := ociimage.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	var lower diskimage.Tree
	for _, files := range states {
		upper := memoryTree(t, files)
		if err := layout.AddLayer(t.Context(), ociimage.Difference(lower, upper), "",
			ociimage.Compression{Method: tarfile.Gzip}); err != nil {
			t.Fatal(err)
		}
		lower = upper
	}
	image := ociimage.Image{Created: treeTime, Platform: platform(debian.Arch{Name: "amd64"})}
	if _, err := layout.Finish(image); err != nil {
		t.Fatal(err)
	}
	create := func(name string, write func(*os.File) error) {
		t.Helper()
		if err := diskimage.WriteFile(t.Context(), filepath.Join(dir, name), 0o644, write); err != nil {
			t.Fatal(err)
		}
	}
	create("image.tar", func(f *os.File) error {
		return ociimage.WriteArchive(t.Context(), f, filepath.Join(dir, "image"), "tag", treeTime)
	})
	create("root.tar", func(f *os.File) error { return tarfile.Write(t.Context(), f, lower) })
	var first []byte
	for _, text := range []string{"root.tar", "oci:image", "oci-archive:image.tar", "oci-archive:image.tar:tag"} {
		a := newAssembly(t, func(o *Options) { o.Boot, o.Bootsize, o.Bmap = boot.WordNone, 20*diskimage.MiB, true })
		a.World.Dir = dir
		s, err := ParseSource(text, a.World)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := s.Open(t.Context(), SourceOptions{World: a.World, TempDir: dir, Arch: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.Write(t.Context(), tree), tree.Close()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		data, err := os.ReadFile(a.Options.Image)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		}
		if !bytes.Equal(data, first) {
			t.Errorf("%s: another image than that of the tarball", text)
		}
	}
}

// An existing image was refused as "no tar archive" (issue 18, 6). Made of itself, in any format and compression, it
// is the same image again.
func TestAssemblyOfADiskImageIsTheSameImage(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/fstab"] = "tmpfs /tmp tmpfs size=1G 0 0\n"
	a := newAssembly(t, func(o *Options) { o.Boot, o.Bootsize = boot.WordNone, 20*diskimage.MiB })
	a.World.Dir = filepath.Dir(a.Options.Image)
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.Open(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	create := func(name string, write func(*os.File) error) {
		t.Helper()
		if err := diskimage.WriteFile(t.Context(), filepath.Join(a.World.Dir, name), 0o644, write); err != nil {
			t.Fatal(err)
		}
	}
	create("disk.qcow2", func(f *os.File) error {
		return format.Convert(t.Context(), format.Qcow2, f, raw, format.Options{})
	})
	create("disk.img.zst", func(f *os.File) error {
		w, err := tarfile.Compress(f, "disk.img.zst", 0)
		if err != nil {
			return err
		}
		_, err = w.Write(want)
		return errors.Join(err, w.Close())
	})
	a.Options.Image = filepath.Join(a.World.Dir, "again.img")
	for _, text := range []string{"disk.img", "disk:disk.img", "disk.qcow2", "disk.img.zst"} {
		s, err := ParseSource(text, a.World)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := s.Open(t.Context(), SourceOptions{World: a.World, TempDir: a.World.Dir, Arch: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		a.MountPoints = tree.MountPoints
		if err := errors.Join(a.Write(t.Context(), tree), tree.Close()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := os.ReadFile(a.Options.Image); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another image (%v)", text, err)
		}
	}
}

// The files of a separate /home are in the tree: a line of fstab for its partition would stop the boot (issue 18, 6).
func TestAssemblyOfADiskImageForgetsItsPartitions(t *testing.T) {
	t.Parallel()
	files := bootable()
	files["etc/fstab"] = "UUID=old /home/ ext4 defaults 0 2\nserver:/x /srv nfs defaults 0 0\n"
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	a.MountPoints = []string{"/boot", "/home"}
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	got := written(t, a, "etc/fstab")["etc/fstab"]
	if strings.Contains(got, "old") || !strings.Contains(got, "server:/x /srv") {
		t.Errorf("/etc/fstab:\n%s", got)
	}
}

func TestSourcesAreToldApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "f:1.tar"), nil,
		0o644), os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	w := World{Stat: os.Stat, Dir: dir}
	for text, want := range map[string]Source{
		"-": {transport.File, "-", ""}, "f": {transport.File, "f", ""}, "./f:1.tar": {transport.File, "./f:1.tar", ""},
		"f:1.tar": {transport.File, "f:1.tar", ""}, "disk:f": {transport.Disk, "f", ""},
		"d":     {transport.Dir, "d", ""},
		"tar:f": {transport.Tar, "f", ""}, "oci:d:tag": {transport.OCI, "d", "tag"},
		"docker-archive:f:debian:13": {transport.DockerArchive, "f", "debian:13"},
		"docker://debian": {transport.Docker, "",
			"docker.io/library/debian:latest"},
		"docker://localhost:5000/os/debian:13": {transport.Docker, "", "localhost:5000/os/debian:13"},
		"docker://r.example/x@sha256:" + strings.Repeat("0", 64): {transport.Docker, "",
			"r.example/x@sha256:" + strings.Repeat("0", 64)},
	} {
		if got, err := ParseSource(text, w); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"none": `there is no "none": choose from FILE`, "tar:d": "is a directory", "oci:f": "is not a directory",
		"oci-archive:": "names no file", "docker:debian": "docker://REGISTRY",
		"docker://Not A Name": "is no name of an image", "ext4:x": "is none of FILE, -,",
	} {
		if _, err := ParseSource(text, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}

// damagedTree is a tree with an error after its root.
type damagedTree struct{ err error }

func (d damagedTree) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		if yield(diskimage.DirEntry(".", 0o755, treeTime), nil) {
			yield(diskimage.Entry{}, d.err)
		}
	}
}

// An inode with a wrong checksum was an error that did not say of which file (issue 18, 6).
func TestAssemblyOfADamagedDiskNamesItsSource(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	err := a.Write(t.Context(), damagedTree{errors.New("bin/sh: inode 12: damaged")})
	if err == nil || err.Error() != "--from: bin/sh: inode 12: damaged" {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(a.Options.Image), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestImagesAreNotTakenForTarballs(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, func(o *Options) { o.Boot = boot.WordNone })
	err := a.Write(t.Context(), memoryTree(t, map[string]string{"oci-layout": "", "blobs/sha256/00": ""}))
	if err == nil || !strings.Contains(err.Error(), "--from: ") || !strings.Contains(err.Error(), "oci-archive:") {
		t.Errorf("got %v", err)
	}
}

// withGrub adds GRUB for BIOS of this machine, as its package has it.
func withGrub(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	for _, name := range []string{
		"boot.img", "diskboot.img", "kernel.img", "lzma_decompress.img", "moddep.lst", "normal.mod",
		"biosdisk.mod", "part_msdos.mod", "part_gpt.mod", "ext2.mod", "fshelp.mod", "search_fs_uuid.mod",
	} {
		files["usr/lib/grub/i386-pc/"+name] = fileOf(t, "/usr/lib/grub/i386-pc/"+name)
	}
	return files
}

func TestAssemblyConfiguresGrubWithoutRunningIt(t *testing.T) {
	t.Parallel()
	files := withGrub(t, bootable())
	files["boot/vmlinuz-6.10"], files["boot/initrd.img-6.10"] = "newer", "initrd"
	files["boot/grub/i386-pc/stale.mod"] = "of another version"
	files["etc/default/grub"] = "GRUB_DEFAULT=0\nGRUB_TIMEOUT=3\nGRUB_DISTRIBUTOR=`( . /etc/os-release && echo ${NAME} )`\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"
	files["etc/default/grub.d/site.cfg"] = "GRUB_CMDLINE_LINUX=\"mitigations=auto\" # why\nexport GRUB_CMDLINE_LINUX=\"${GRUB_CMDLINE_LINUX} net.ifnames=0\"\n"
	a := newAssembly(t, func(o *Options) { o.Boot, o.PartType, o.SerialConsole = boot.WordGRUB, "gpt", true })
	if err := a.Write(t.Context(), memoryTree(t, files)); err != nil {
		t.Fatal(err)
	}
	texts := written(t, a, "boot/grub/grub.cfg", "boot/grub/grubenv", "boot/grub/i386-pc/normal.mod",
		"etc/default/grub")
	root := diskimage.DeriveID(uuid.Max, "/").String()
	for _, want := range []string{
		"set timeout=3\n", "serial --unit=0 --speed=115200", "terminal_input console serial\n",
		"insmod part_gpt\n\tinsmod ext2\n",
		"menuentry 'Debian GNU/Linux' --class", "search --no-floppy --fs-uuid --set=root " + root,
		"linux /boot/vmlinuz-6.10 root=UUID=" + root +
			" ro mitigations=auto net.ifnames=0 console=tty0 console=ttyS0,115200n8\n\tinitrd /boot/initrd.img-6.10\n",
		"with Linux 6.1 (recovery mode)'", "\t\tlinux /boot/vmlinuz-6.1 root=UUID=" + root +
			" ro mitigations=auto net.ifnames=0 single\n",
	} {
		if !strings.Contains(texts["boot/grub/grub.cfg"], want) {
			t.Errorf("grub.cfg has no %q:\n%s", want, texts["boot/grub/grub.cfg"])
		}
	}
	diskimagetest.Run(t, "sh", "-c", `printf %s "$1" > "$2/grub.cfg" && grub-script-check "$2/grub.cfg"`, "sh",
		texts["boot/grub/grub.cfg"], t.TempDir())
	if !strings.Contains(texts["etc/default/grub"], "console=ttyS0") {
		t.Errorf("/etc/default/grub, for later kernels: %s", texts["etc/default/grub"])
	}
	image, err := os.ReadFile(a.Options.Image)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(image, []byte("of another version")) || !bytes.Contains(image[:512], []byte("GRUB ")) {
		t.Error("the boot code is not there, or old modules are")
	}
}

func TestAssemblyRefusesSettingsThatAProgramComputes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"GRUB_CMDLINE_LINUX=\"$(cat /etc/args)\"\n": "--boot: /etc/default/grub of the root file system: GRUB_CMDLINE_LINUX: ",
		"GRUB_TIMEOUT=`echo 5`\n":                   "GRUB_TIMEOUT: ",
		"GRUB_CMDLINE_LINUX=\"${A:-b}\"\n":          "is a shell expansion",
	} {
		files := withGrub(t, bootable())
		files["etc/default/grub"] = text
		a := newAssembly(t, func(o *Options) { o.Boot = boot.WordGRUB })
		if err := a.Write(t.Context(), memoryTree(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestAssemblyCopiesGrubToTheESP(t *testing.T) {
	t.Parallel()
	signed := map[string]string{
		"usr/lib/shim/shimx64.efi.signed": "shim", "usr/lib/shim/mmx64.efi.signed": "mm",
		"usr/lib/shim/fbx64.efi.signed": "fb", "usr/lib/shim/BOOTX64.CSV": "csv",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grub",
	}
	monolith := map[string]string{"usr/lib/grub/x86_64-efi/monolithic/grubx64.efi": "unsigned"}
	uefi := func(o *Options) { o.Grub, o.UseUEFI = true, true }
	hybrid := func(o *Options) { o.Boot, o.PartType = boot.WordHybrid, "gpt" }
	for _, tt := range []struct {
		name   string
		change func(*Options)
		more   map[string]string
		first  string
		err    string
	}{
		{"signed", uefi, signed, "shim", ""},
		{"unsigned", uefi, monolith, "unsigned", ""},
		{"hybrid", hybrid, withGrub(t, maps.Clone(signed)), "shim", ""},
		{"hybrid without BIOS", hybrid, signed, "",
			"--boot: the root file system has no /usr/lib/grub/i386-pc/kernel.img: add the package grub-pc-bin"},
		{"none", uefi, nil, "",
			"--use-uefi: the root file system has no /usr/lib/grub/x86_64-efi/monolithic/grubx64.efi: add the package grub-efi-amd64-bin"},
	} {
		files := bootable()
		maps.Copy(files, tt.more)
		a := newAssembly(t, tt.change)
		err := a.Write(t.Context(), memoryTree(t, files))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		texts := written(t, a, "boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/efi/EFI/debian/grub.cfg", "boot/grub/grub.cfg")
		root := diskimage.DeriveID(uuid.Max, "/").String()
		if texts["boot/efi/EFI/BOOT/BOOTX64.EFI"] != tt.first ||
			!strings.Contains(texts["boot/efi/EFI/debian/grub.cfg"], root) {
			t.Errorf("%s: got %q", tt.name, texts)
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
