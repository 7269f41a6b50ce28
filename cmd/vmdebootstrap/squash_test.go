//go:build mirror

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestSquashMakesALiveFileSystem builds one with --squash, and another with the verb from the tarball of the same system.
func TestSquashMakesALiveFileSystem(t *testing.T) {
	dir := t.TempDir()
	call := func(args ...string) {
		t.Helper()
		cmd := vmdebootstrap(t, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	call("--squash=live", "--grub", "--use-uefi")
	entries, err := os.ReadDir(filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, want := range []string{`^filesystem\.squashfs$`, `^vmlinuz-\S+-amd64$`, `^initrd\.img-\S+-amd64$`, `^config-\S+-amd64$`, `^System\.map-\S+-amd64$`} {
		if !regexp.MustCompile("(?m)" + want).MatchString(strings.Join(names, "\n")) {
			t.Errorf("nothing like %s in %q", want, names)
		}
	}
	for _, name := range []string{"BOOTX64.EFI", "grubx64.efi"} {
		if info, err := os.Stat(filepath.Join(dir, "live", "efi/EFI/BOOT", name)); err != nil || info.Size() < 100<<10 {
			t.Errorf("what firmware starts: %v", err)
		}
	}
	squashfs := filepath.Join(dir, "live", "filesystem.squashfs")
	if text := diskimagetest.Run(t, "unsquashfs", "-s", squashfs); !strings.Contains(text, "Compression xz") {
		t.Errorf("unsquashfs says:\n%s", text)
	}
	list := diskimagetest.Run(t, "unsquashfs", "-lln", squashfs)
	for want, there := range map[string]bool{
		`(?m)^drwxr-xr-x 0/0 .* squashfs-root$`: true, `(?m)^-rwsr-xr-x 0/0 .* squashfs-root/usr/bin/passwd$`: true,
		`(?m)^drwxr-xr-x 0/0 .* squashfs-root/dev$`: true, `squashfs-root/(dev|proc|sys|run)/.`: false,
	} {
		if regexp.MustCompile(want).MatchString(list) != there {
			t.Errorf("%s in the file system: want %t", want, there)
		}
	}

	call("--tarball=root.tar.zst", "--no-kernel", "--debootstrapopts=variant=minbase")
	call("squash", "--tarball=root.tar.zst", "again")
	again := diskimagetest.Run(t, "unsquashfs", "-lln", filepath.Join(dir, "again", "filesystem.squashfs"))
	if !strings.Contains(again, "squashfs-root/etc/debian_version") || !regexp.MustCompile(`(?m)^-rwsr-xr-x 0/0 .*/usr/bin/passwd$`).MatchString(again) {
		t.Errorf("made of a tarball:\n%.2000s", again)
	}

	if err := os.MkdirAll(filepath.Join(dir, "empty/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := vmdebootstrap(t, "squash", "--directory=empty", "none")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "something is missing in the root file system") {
		t.Errorf("a file system of less than 1 MB: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a file system of less than 1 MB was written")
	}
}
