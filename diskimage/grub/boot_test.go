// SPDX-License-Identifier: Apache-2.0

package grub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// modules returns the directory of a platform's modules in Debian's packages.
func modules(platform string) string { return "/usr/lib/grub/" + platform }

// kind describes a disk to make.
type kind struct {
	table diskimage.TableKind
	// separateBoot places the configuration in a boot partition, at /grub.
	separateBoot bool
	// platforms are the platforms with a program of our own; signed adds those that Debian signed
	// for x86_64-efi.
	platforms []string
	signed    bool
}

// has reports whether our own program for a platform is on the disk.
func (k kind) has(platform string) bool { return slices.Contains(k.platforms, platform) }

// disk is an image with GRUB, which prints a line, and its inputs.
type disk struct {
	name       string
	layout     diskimage.Layout
	boot, core []byte
}

const (
	marker = "MARK-OF-THE-CONFIGURATION"
	pc     = grub.BIOSPlatform
	efi    = "x86_64-efi"
	efi32  = "i386-efi"
)

// makeDisk writes an image that contains only GRUB and its configuration. If install is false, it
// leaves out GRUB for BIOS.
func makeDisk(t *testing.T, k kind, install bool) disk {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	filesystem := func(fstype, id string) diskimage.Filesystem {
		return diskimage.Filesystem{Type: fstype, Features: "1.44", Time: now, UUID: uuid.MustParse(id)}
	}
	request := diskimage.Request{Size: 128 * diskimage.MiB, Table: k.table,
		ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11")}
	if k.has(pc) && k.table == diskimage.GPT {
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{Role: diskimage.RoleBIOSBoot,
			Size: diskimage.MiB})
	}
	if k.signed || k.has(efi) || k.has(efi32) {
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{
			Role: diskimage.RoleESP, Size: 32 * diskimage.MiB,
			Filesystem: filesystem("vfat", "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c14"),
		})
	}
	place := grub.Place{UUID: "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12", Dir: "/boot/grub"}
	holds := diskimage.RoleRoot
	if k.separateBoot {
		place, holds = grub.Place{UUID: "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c13", Dir: "/grub"}, diskimage.RoleBoot
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{
			Role: diskimage.RoleBoot, Size: 32 * diskimage.MiB, Filesystem: filesystem("ext4", place.UUID),
		})
	}
	request.Partitions = append(request.Partitions, diskimage.PartitionRequest{
		Role: diskimage.RoleRoot, Filesystem: filesystem("ext4", "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12"),
	})
	layout, err := diskimage.NewLayout(request)
	if err != nil {
		t.Fatal(err)
	}
	d := disk{name: filepath.Join(t.TempDir(), "disk.img"), layout: layout}
	holder, _ := layout.Partition(holds)
	prefix := grub.Prefix(k.table, holder.Number, place.Dir)

	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	for _, p := range layout.Partitions {
		var entries []diskimage.Entry
		var formatter diskimage.Formatter = ext.Formatter{}
		switch {
		case p.Role == diskimage.RoleBIOSBoot:
			continue
		case p.Role == diskimage.RoleESP:
			formatter, entries = fat.Formatter{}, espEntries(t, k, prefix, place, now)
		case p.Number == holder.Number:
			entries = bootEntries(t, k, strings.TrimPrefix(place.Dir, "/"), now)
		}
		tree, err := diskimage.Overlay(diskimage.EmptyTree(now), entries...)
		if err != nil {
			t.Fatal(err)
		}
		if image.Volumes[p.Number], err = formatter.Plan(p.Size, p.Filesystem, tree); err != nil {
			t.Fatal(err)
		}
	}
	if k.has(pc) {
		d.boot = read(t, modules(pc)+"/boot.img")
		d.core = makeCore(t, pc, prefix, place)
	}
	if k.has(pc) && install {
		at := grub.Embedding{CoreLBA: 1, Sectors: uint64(layout.FirstStart()/diskimage.SectorSize) - 1}
		if p, ok := layout.Partition(diskimage.RoleBIOSBoot); ok {
			at = grub.Embedding{CoreLBA: p.StartLBA(), Sectors: p.Sectors()}
		}
		if image.Patches, err = grub.EmbedBIOS(d.boot, d.core, at); err != nil {
			t.Fatal(err)
		}
	}
	err = diskimage.WriteFile(t.Context(), d.name, 0o644, func(f *os.File) error { return image.Write(t.Context(), f) })
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(diskimagetest.File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// makeCore returns core.img, or an EFI program from grub-mkimage, as the builder makes them.
func makeCore(t *testing.T, platform, prefix string, place grub.Place) []byte {
	t.Helper()
	if platform == pc {
		core, err := grub.Core{
			File:    func(name string) ([]byte, error) { return read(t, modules(pc)+"/"+name), nil },
			Modules: grub.CoreModules(pc, "ext4"), Config: grub.LoadConfig(place), Prefix: prefix,
		}.Image()
		if err != nil {
			t.Fatal(err)
		}
		return core
	}
	diskimagetest.File(t, modules(platform)+"/kernel.img")
	dir := t.TempDir()
	config, output := filepath.Join(dir, "load.cfg"), filepath.Join(dir, "core.img")
	if err := os.WriteFile(config, grub.LoadConfig(place), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-O", platform, "-d", modules(platform), "-c", config, "-o", output, "-p", prefix}
	diskimagetest.Run(t, "grub-mkimage", append(args, grub.CoreModules(platform, "ext4")...)...)
	return read(t, output)
}

// espEntries returns the content of the EFI system partition.
func espEntries(t *testing.T, k kind, prefix string, place grub.Place, now time.Time) []diskimage.Entry {
	t.Helper()
	var entries []diskimage.Entry
	for _, platform := range k.platforms {
		if platform == pc {
			continue
		}
		removable, _, err := grub.EFIPaths(platform, "debian")
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, diskimage.FileEntry(removable, 0o644, makeCore(t, platform, prefix, place), now))
	}
	if !k.signed {
		return entries
	}
	files, err := grub.EFISignedFiles(efi, "debian")
	if err != nil {
		t.Fatal(err)
	}
	entries = append(entries, diskimage.FileEntry("EFI/debian/grub.cfg", 0o644, grub.EFIConfig(place), now))
	for _, f := range files {
		entries = append(entries, diskimage.FileEntry(f.To, 0o644, read(t, "/"+f.From), now))
	}
	return entries
}

// bootEntries returns /boot/grub: the modules that a grub.cfg needs, and one that prints the
// marker.
func bootEntries(t *testing.T, k kind, dir string, now time.Time) []diskimage.Entry {
	t.Helper()
	entries := []diskimage.Entry{
		diskimage.FileEntry(dir+"/grub.cfg", 0o644, []byte("echo "+marker+" $grub_platform .\nsleep 60\n"), now),
		diskimage.FileEntry(dir+"/grubenv", 0o644, grub.Environment(), now),
	}
	for _, platform := range k.platforms {
		names, err := filepath.Glob(modules(platform) + "/*.[ml][os][dt]")
		if err != nil || len(names) == 0 {
			t.Fatalf("no modules in %s: %v", modules(platform), err)
		}
		for _, name := range names {
			entries = append(entries, diskimage.FileEntry(dir+"/"+platform+"/"+filepath.Base(name), 0o644,
				read(t, name), now))
		}
	}
	return entries
}

// TestBootCodeReachesTheConfiguration boots each kind of disk with each firmware that it supports.
func TestBootCodeReachesTheConfiguration(t *testing.T) {
	t.Parallel()
	const bios, uefi, secure = diskimagetest.BIOS, diskimagetest.UEFI, diskimagetest.SecureBoot
	const uefi32 diskimagetest.Firmware = "uefi32" // for i386
	for _, tt := range []struct {
		name  string
		kind  kind
		boots []diskimagetest.Firmware
	}{
		{"msdos", kind{table: diskimage.MSDOS, platforms: []string{pc}}, []diskimagetest.Firmware{bios}},
		{"msdos, boot apart", kind{table: diskimage.MSDOS, platforms: []string{pc}, separateBoot: true},
			[]diskimagetest.Firmware{bios}},
		{"gpt", kind{table: diskimage.GPT, platforms: []string{pc}}, []diskimagetest.Firmware{bios}},
		{"gpt, boot apart", kind{table: diskimage.GPT, platforms: []string{pc}, separateBoot: true},
			[]diskimagetest.Firmware{bios}},
		{"EFI, msdos", kind{table: diskimage.MSDOS, platforms: []string{efi}}, []diskimagetest.Firmware{uefi}},
		{"EFI, gpt", kind{table: diskimage.GPT, platforms: []string{efi}}, []diskimagetest.Firmware{uefi}},
		{"signed, msdos", kind{table: diskimage.MSDOS, signed: true}, []diskimagetest.Firmware{uefi, secure}},
		{"signed, gpt", kind{table: diskimage.GPT, signed: true}, []diskimagetest.Firmware{uefi, secure}},
		{"signed, with 32 bits", kind{table: diskimage.GPT, signed: true, platforms: []string{efi32}},
			[]diskimagetest.Firmware{uefi32}},
		{"hybrid, msdos, boot apart", kind{table: diskimage.MSDOS, platforms: []string{pc}, signed: true,
			separateBoot: true}, []diskimagetest.Firmware{bios, uefi, secure}},
		{"hybrid, gpt", kind{table: diskimage.GPT, platforms: []string{pc}, signed: true},
			[]diskimagetest.Firmware{bios, uefi, secure}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := makeDisk(t, tt.kind, true)
			diskimagetest.Run(t, "sfdisk", "--verify", d.name)
			for _, firmware := range tt.boots {
				o := diskimagetest.BootOptions{Firmware: firmware, Want: marker + " efi", Timeout: 2 * time.Minute}
				switch firmware {
				case bios:
					o.Want = marker + " pc"
				case uefi32:
					o.Arch, o.Firmware = "i386", uefi
				}
				diskimagetest.Boot(t, d.name, o)
			}
		})
	}
}

// TestSecureBootRejectsUnsignedPrograms proves that the firmware of these tests verifies
// signatures.
func TestSecureBootRejectsUnsignedPrograms(t *testing.T) {
	t.Parallel()
	d := makeDisk(t, kind{table: diskimage.GPT, platforms: []string{efi}}, true)
	diskimagetest.Boot(t, d.name, diskimagetest.BootOptions{
		Firmware: diskimagetest.SecureBoot, Want: "Access Denied", Timeout: 2 * time.Minute,
	})
}

// TestEmbeddingEqualsGrubBIOSSetup runs GRUB's own installer on the same disk. That looks for the
// disk in /proc/self/mountinfo, so it runs in namespaces in which that file lists the image as the
// device of /.
func TestEmbeddingEqualsGrubBIOSSetup(t *testing.T) {
	t.Parallel()
	setup := diskimagetest.File(t, "/usr/sbin/grub-bios-setup", modules(pc)+"/grub-bios-setup")
	unshare := diskimagetest.Tool(t, "unshare")
	for _, table := range []diskimage.TableKind{diskimage.MSDOS, diskimage.GPT} {
		t.Run(string(table), func(t *testing.T) {
			ours := makeDisk(t, kind{table: table, platforms: []string{pc}}, true)
			theirs := makeDisk(t, kind{table: table, platforms: []string{pc}}, false)
			dir := t.TempDir()
			for name, data := range map[string][]byte{
				"boot.img": theirs.boot, "core.img": theirs.core,
				"mountinfo": []byte("1 0 1:1 / / - fat " + theirs.name + " /\n"),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			script := `mount --bind "$1/mountinfo" "/proc/$$/mountinfo" &&
				exec "$2" --no-rs-codes --skip-fs-probe --directory="$1" "$3"`
			cmd := exec.Command(unshare, "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", dir, setup,
				theirs.name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("grub-bios-setup: %v\n%s", err, out)
			}
			compare(t, ours.name, theirs.name, int64(ours.layout.Size))
		})
	}
}

// compare fails the test if two images differ.
func compare(t *testing.T, ours, theirs string, size int64) {
	t.Helper()
	a, b := read(t, ours), read(t, theirs)
	if int64(len(a)) != size || len(b) != len(a) {
		t.Fatalf("lengths %d and %d, want %d", len(a), len(b), size)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("byte %#x (sector %d): ours is %#x, grub-bios-setup's %#x", i, i/512, a[i], b[i])
		}
	}
}
