// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

// TestSquashMakesALiveFileSystem makes live file systems with --squash, and with the verb from a tarball and
// a directory.
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
	call("--squash=live", "--provenance=live.json", "--grub", "--use-uefi")
	entries, err := os.ReadDir(filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, want := range []string{`^filesystem\.squashfs$`, `^vmlinuz-\S+-amd64$`, `^initrd\.img-\S+-amd64$`,
		`^config-\S+-amd64$`, `^System\.map-\S+-amd64$`} {
		if !regexp.MustCompile("(?m)" + want).MatchString(strings.Join(names, "\n")) {
			t.Errorf("nothing like %s in %q", want, names)
		}
	}
	for _, name := range []string{"BOOTX64.EFI", "grubx64.efi", "BOOTIA32.EFI"} {
		if info, err := os.Stat(filepath.Join(dir, "live", "efi/EFI/BOOT", name)); err != nil || info.Size() < 100<<10 {
			t.Errorf("the EFI program %s: %v", name, err)
		}
	}
	statement, err := os.Open(filepath.Join(dir, "live.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer statement.Close()
	verified, _, err := builder.VerifyProvenance(t.Context(), statement, nil, dir)
	if err != nil || !slices.Contains(verified, "live/filesystem.squashfs") ||
		!slices.Contains(verified, "live/"+names[0]) {
		t.Errorf("the statement is about %q (%v), not about %q", verified, err, names)
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
	if !strings.Contains(again, "squashfs-root/etc/debian_version") ||
		!regexp.MustCompile(`(?m)^-rwsr-xr-x 0/0 .*/usr/bin/passwd$`).MatchString(again) {
		t.Errorf("from a tarball:\n%.2000s", again)
	}

	// Issue 12, A4: owner xattrs on a user's own files must be ignored.
	tool := filepath.Join(dir, "own", "tool")
	data := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	err = errors.Join(os.Mkdir(filepath.Dir(tool), 0o755), os.WriteFile(tool, data, 0o755),
		os.Chmod(tool, 0o755|os.ModeSetuid),
		unix.Setxattr(tool, ownerxattr.Name, []byte("77:88"), 0), unix.Setxattr(tool, "user.mine", []byte("x"), 0))
	if err != nil {
		t.Fatal(err)
	}
	// Without newuidmap in the PATH, the isolation is single.
	for isolation, path := range map[string]string{"userns": os.Getenv("PATH"), "single": dir} {
		out := "own-" + isolation
		cmd := vmdebootstrap(t, "squash", "--directory=own", out)
		cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "PATH="+path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", isolation, err, out)
		}
		squashfs := filepath.Join(dir, out, "filesystem.squashfs")
		list := diskimagetest.Run(t, "unsquashfs", "-lln", squashfs)
		if !regexp.MustCompile(`(?m)^-rwsr-xr-x 0/0 .*/tool$`).MatchString(list) {
			t.Errorf("%s: from a directory:\n%s", isolation, list)
		}
		to := filepath.Join(dir, out+"-again")
		diskimagetest.Run(t, "unsquashfs", "-q", "-n", "-user-xattrs", "-d", to, squashfs)
		names := make([]byte, 1000)
		if n, err := unix.Listxattr(filepath.Join(to, "tool"), names); err != nil ||
			string(names[:n]) != "user.mine\x00" {
			t.Errorf("%s: attributes %q (%v)", isolation, names[:max(n, 0)], err)
		}
	}

	// The limit of 1 MB is for systems that were built, where less is a mistake (issue 15, 17).
	if err := os.MkdirAll(filepath.Join(dir, "small/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	call("squash", "--directory=small", "small.live")
	list = diskimagetest.Run(t, "unsquashfs", "-l", filepath.Join(dir, "small.live/filesystem.squashfs"))
	if !strings.Contains(list, "squashfs-root/etc\n") {
		t.Errorf("a small directory:\n%s", list)
	}
}
