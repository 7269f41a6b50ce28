// SPDX-License-Identifier: Apache-2.0

package grub_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/iso9660"
)

const cdImage = "boot/grub/eltorito.img"

// makeMedium writes a medium that contains only GRUB, for BIOS and signed for UEFI, and its configuration.
func makeMedium(t *testing.T) string {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	place := grub.Place{UUID: iso9660.UUID(now), Dir: "/boot/grub"}
	file := func(name string) ([]byte, error) { return read(t, modules(pc)+"/"+name), nil }
	core, err := grub.Core{File: file, Modules: grub.CDModules(), Config: grub.LoadConfig(place),
		Prefix: place.Dir}.Image()
	if err != nil {
		t.Fatal(err)
	}
	image, err := grub.CDImage(read(t, modules(pc)+"/cdboot.img"), core)
	if err != nil {
		t.Fatal(err)
	}
	m := iso9660.Medium{VolumeID: "grub-test", Time: now, ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11"),
		BIOSImage: cdImage}
	script := "echo " + marker + " $grub_platform from $root .\nsleep 60\n"
	m.Files, err = diskimage.Overlay(diskimage.EmptyTree(now), diskimage.FileEntry(cdImage, 0o644, image, now),
		diskimage.FileEntry("boot/grub/grub.cfg", 0o644, []byte(script), now),
		diskimage.FileEntry("EFI/debian/grub.cfg", 0o644, grub.EFIConfig(place), now))
	if err != nil {
		t.Fatal(err)
	}
	m.ESP, err = diskimage.Overlay(diskimage.EmptyTree(now), espEntries(t, kind{signed: true}, "", place, now)...)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := m.Plan()
	if err != nil {
		t.Fatal(err)
	}
	block, err := plan.Block(cdImage)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Image.Patches, err = grub.EmbedCD(read(t, modules(pc)+"/boot_hybrid.img"), image, block); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "grub.iso")
	err = diskimage.WriteFile(t.Context(), name, 0o644,
		func(f *os.File) error { return plan.Image.Write(t.Context(), f) })
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestMediumReachesTheConfiguration boots one medium as a CD and as a disk. make test-matrix boots live systems in the
// other ways, to their login prompts.
func TestMediumReachesTheConfiguration(t *testing.T) {
	t.Parallel()
	name := makeMedium(t)
	diskimagetest.Run(t, "sfdisk", "--verify", name)
	for _, tt := range []struct {
		name string
		o    diskimagetest.BootOptions
	}{
		{"disk, BIOS", diskimagetest.BootOptions{Want: marker + ` pc from hd0`}},
		{"CD, Secure Boot", diskimagetest.BootOptions{Firmware: diskimagetest.SecureBoot, CD: true,
			Want: marker + ` efi from cd0`}},
		{"disk, Secure Boot", diskimagetest.BootOptions{Firmware: diskimagetest.SecureBoot,
			Want: marker + ` efi from hd0`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Timeout = 2 * time.Minute
			diskimagetest.Boot(t, name, tt.o)
		})
	}
}

// TestXorrisoFindsThePatchesOfGRUB asks how xorriso would have been called for the same medium.
func TestXorrisoFindsThePatchesOfGRUB(t *testing.T) {
	t.Parallel()
	name := makeMedium(t)
	got := diskimagetest.Run(t, "xorriso", "-indev", name, "-report_el_torito", "as_mkisofs")
	for _, want := range []string{"--grub2-mbr ", "-boot-info-table", "--grub2-boot-info"} {
		if !strings.Contains(got, want) {
			t.Errorf("xorriso would be called with\n%s\nwhere %s is missing", got, want)
		}
	}
}

// TestEmbedCDRejectsFilesOfOtherPrograms gives it files of other lengths.
func TestEmbedCDRejectsFilesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	if _, err := grub.CDImage(make([]byte, 512), make([]byte, 2048)); err == nil {
		t.Error("a cdboot.img of 512 bytes is accepted")
	}
	if _, err := grub.CDImage(make([]byte, 2048), make([]byte, 100)); err == nil {
		t.Error("a core.img of 100 bytes is accepted")
	}
	if _, err := grub.EmbedCD(make([]byte, 440), make([]byte, 4096), 600); err == nil {
		t.Error("a boot_hybrid.img of 440 bytes is accepted")
	}
}
