package grub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

const modules = "/usr/lib/grub/i386-pc"

// disk is an image with GRUB for BIOS that prints a line, and the inputs it was made from.
type disk struct {
	name       string
	layout     diskimage.Layout
	boot, core []byte
}

const marker = "MARK-OF-THE-CONFIGURATION"

// makeDisk writes an image of 64 MiB that holds GRUB and its configuration alone. With a boot partition the
// configuration is there, at /grub.
func makeDisk(t *testing.T, table diskimage.TableKind, separateBoot, install bool) disk {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	filesystem := func(id string) diskimage.Filesystem {
		return diskimage.Filesystem{Type: "ext4", Features: "bookworm", Time: now, UUID: uuid.MustParse(id)}
	}
	request := diskimage.Request{Size: 96 * diskimage.MiB, Table: table, ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11")}
	if table == diskimage.GPT {
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{Role: diskimage.RoleBIOSBoot, Size: diskimage.MiB})
	}
	place := grub.Place{UUID: "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12", Dir: "/boot/grub"}
	if separateBoot {
		place = grub.Place{UUID: "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c13", Dir: "/grub"}
		request.Partitions = append(request.Partitions, diskimage.PartitionRequest{
			Role: diskimage.RoleBoot, Size: 32 * diskimage.MiB, Filesystem: filesystem(place.UUID),
		})
	}
	request.Partitions = append(request.Partitions, diskimage.PartitionRequest{
		Role: diskimage.RoleRoot, Filesystem: filesystem("0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12"),
	})
	layout, err := diskimage.NewLayout(request)
	if err != nil {
		t.Fatal(err)
	}
	d := disk{name: filepath.Join(t.TempDir(), "disk.img"), layout: layout}
	if d.boot, err = os.ReadFile(diskimagetest.File(t, modules+"/boot.img")); err != nil {
		t.Fatal(err)
	}
	holder, _ := layout.Partition(diskimage.RoleRoot)
	if separateBoot {
		holder, _ = layout.Partition(diskimage.RoleBoot)
	}
	d.core = makeCore(t, grub.Prefix(table, holder.Number, place.Dir), place)

	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	for _, p := range layout.Partitions {
		if p.Filesystem.Type == "" {
			continue
		}
		tree := diskimage.EmptyTree(now)
		if p.Number == holder.Number {
			tree = bootTree(t, tree, strings.TrimPrefix(place.Dir, "/"), now)
		}
		if image.Volumes[p.Number], err = (ext.Formatter{}).Plan(p.Size, p.Filesystem, tree); err != nil {
			t.Fatal(err)
		}
	}
	if install {
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

// makeCore runs grub-mkimage as the builder does.
func makeCore(t *testing.T, prefix string, place grub.Place) []byte {
	t.Helper()
	dir := t.TempDir()
	config, output := filepath.Join(dir, "load.cfg"), filepath.Join(dir, "core.img")
	if err := os.WriteFile(config, grub.LoadConfig(place), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-O", "i386-pc", "-d", modules, "-c", config, "-o", output, "-p", prefix}
	diskimagetest.Run(t, "grub-mkimage", append(args, grub.CoreModules("ext4")...)...)
	core, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// bootTree is /boot/grub: the modules that a grub.cfg needs, and one that prints the marker.
func bootTree(t *testing.T, base diskimage.Tree, dir string, now time.Time) diskimage.Tree {
	t.Helper()
	entries := []diskimage.Entry{
		diskimage.FileEntry(dir+"/grub.cfg", 0o644, []byte("echo "+marker+" .\nsleep 60\n"), now),
		diskimage.FileEntry(dir+"/grubenv", 0o644, grub.Environment(), now),
	}
	names, err := filepath.Glob(modules + "/*.[ml][os][dt]")
	if err != nil || len(names) == 0 {
		t.Fatalf("no modules in %s: %v", modules, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, diskimage.FileEntry(dir+"/i386-pc/"+filepath.Base(name), 0o644, data, now))
	}
	tree, err := diskimage.Overlay(base, entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestBootCodeReachesTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		table        diskimage.TableKind
		separateBoot bool
	}{
		{"msdos", diskimage.MSDOS, false},
		{"msdos, /boot apart", diskimage.MSDOS, true},
		{"gpt", diskimage.GPT, false},
		{"gpt, /boot apart", diskimage.GPT, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := makeDisk(t, tt.table, tt.separateBoot, true)
			diskimagetest.Boot(t, d.name, diskimagetest.BootOptions{Want: marker, Timeout: time.Minute})
		})
	}
}

// TestEmbeddingEqualsGrubBIOSSetup has GRUB's own installer write to the same disk. It looks for the disk in
// /proc/self/mountinfo, so it runs in namespaces where that file names the image as the device of /.
func TestEmbeddingEqualsGrubBIOSSetup(t *testing.T) {
	t.Parallel()
	setup := diskimagetest.File(t, "/usr/sbin/grub-bios-setup", modules+"/grub-bios-setup")
	unshare := diskimagetest.Tool(t, "unshare")
	for _, table := range []diskimage.TableKind{diskimage.MSDOS, diskimage.GPT} {
		t.Run(string(table), func(t *testing.T) {
			ours := makeDisk(t, table, false, true)
			theirs := makeDisk(t, table, false, false)
			dir := t.TempDir()
			for name, data := range map[string][]byte{
				"boot.img": theirs.boot, "core.img": theirs.core,
				"mountinfo": []byte("1 0 1:1 / / - fat " + theirs.name + " /\n"),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			script := `mount --bind "$1/mountinfo" "/proc/$$/mountinfo" && exec "$2" --no-rs-codes --skip-fs-probe --directory="$1" "$3"`
			cmd := exec.Command(unshare, "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", dir, setup, theirs.name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("grub-bios-setup: %v\n%s", err, out)
			}
			compare(t, ours.name, theirs.name, int64(ours.layout.Size))
		})
	}
}

// compare wants two images to be equal.
func compare(t *testing.T, ours, theirs string, size int64) {
	t.Helper()
	a, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(a)) != size || len(b) != len(a) {
		t.Fatalf("lengths %d and %d, want %d", len(a), len(b), size)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("byte %#x (sector %d): ours is %#x, grub-bios-setup's %#x", i, i/512, a[i], b[i])
		}
	}
}
