// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestOptionsReachTheDisk builds one image with most options that concern the disk, and with those for the system that
// exclude the ones in TestOptionsReachTheTarball. It reuses the base system of that test, so it takes a few seconds.
func TestOptionsReachTheDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	blob := strings.Repeat("spl", 200_000)
	write("spl.bin", 0o644, blob)
	write("image.sh", 0o755, "#!/bin/sh\nset -e\ntest -s \"$1\"\necho \"$1\" > written\n")
	call := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := vmdebootstrap(t, args...)
		cmd.Dir = dir
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%q: %v, want exit status %d\n%s%s", args, err, want, out.String(), errOut.String())
		}
		return out.String(), errOut.String()
	}
	base := []string{"--distribution=trixie", "--debootstrapopts=variant=minbase include=less",
		"--debootstrapopts=components=main,contrib", "--no-kernel"}
	stdout, stderr := call(exitOK, append(slices.Clone(base),
		"--image=board.img", "--size=1GB", "--no-acpid", "--package=wget", "--recommends", "--no-extlinux", "--sparse",
		"--roottype=ext3", "--bootsize=64Mi", "--boottype=vfat", "--bootoffset=4Mi", "--bootflag=lba", "--swap=100M",
		"--raw=spl.bin@8KiB", "--lock-root-password", "--user=ann", "--no-systemd-networkd", "--enable-dhcp",
		"--configure-apt", "--hook=image:image.sh")...)
	image := filepath.Join(dir, "board.img")
	if stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "user ann can log in without a password") {
		t.Errorf("without --verbose: standard output %q, standard error %q", stdout, stderr)
	}
	if got := readFile(t, filepath.Join(dir, "written")); got != image+"\n" {
		t.Errorf("the hook of the phase image got %q", got)
	}

	// The disk.
	var dump struct {
		PartitionTable struct {
			Partitions []struct {
				Start, Size int64 // sectors
				Type        string
				Bootable    bool
			}
		}
	}
	if err := json.Unmarshal([]byte(diskimagetest.Run(t, "sfdisk", "--json", image)), &dump); err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	parts := dump.PartitionTable.Partitions
	if len(parts) != 3 || parts[0].Start != 4*mib/512 || parts[0].Size != 64*mib/512 || parts[0].Type != "c" ||
		!parts[0].Bootable ||
		parts[1].Start != 68*mib/512 || parts[1].Type != "83" || parts[2].Size != 256*mib/512 || parts[2].Type != "82" {
		t.Fatalf("the partitions are %+v", parts)
	}
	for _, p := range parts[:2] {
		diskimagetest.Fsck(t, image, p.Start*512, p.Size*512)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := make([]byte, len(blob)); true {
		if _, err := f.ReadAt(got, 8<<10); err != nil || string(got) != blob {
			t.Errorf("--raw: the blob is not at its offset (%v)", err)
		}
	}

	// The system, as "vmdebootstrap extract" reads it.
	call(exitOK, "extract", "board.img", "--directory=/etc", "--filename=etc.tar.gz")
	headers, files := readTarball(t, filepath.Join(dir, "etc.tar.gz"))
	for name, pattern := range map[string]string{
		"shadow":                          `(?ms)^root:!\*?:.*^ann::`,
		"fstab":                           `\Aproc /proc proc defaults 0 0\nUUID=\S{36} / ext3 errors=remount-ro 0 1\nUUID=\S{9} /boot vfat defaults 0 2\nUUID=\S{36} none swap sw 0 0\n\z`,
		"network/interfaces":              `\Asource-directory /etc/network/interfaces\.d\n\z`,
		"network/interfaces.d/setup":      `\Aauto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n\z`,
		"apt/sources.list.d/base.sources": `(?s)\ATypes: deb\nURIs: \S+\nSuites: trixie trixie-updates\nComponents: main contrib\n.*\nURIs: http://security\.debian\.org/debian-security\nSuites: trixie-security\n`,
	} {
		if !regexp.MustCompile(pattern).MatchString(files[name]) {
			t.Errorf("/etc/%s has nothing like %s:\n%.600s", name, pattern, files[name])
		}
	}
	for _, name := range []string{"./udev/rules.d/80-net-setup-link.rules", "./systemd/network/99-default.link"} {
		if h := headers[name]; h == nil || h.Typeflag != tar.TypeReg || h.Size != 0 {
			t.Errorf("%s masks nothing: %+v", name, h)
		}
	}
	if headers["./ca-certificates.conf"] == nil {
		t.Error("ca-certificates, which wget recommends, is not installed")
	}
	for _, name := range []string{"./apt/sources.list", "./systemd/network/99-dhcp.network", "./acpi",
		"./resolv.conf"} {
		if headers[name] != nil {
			t.Errorf("/etc has %s", name)
		}
	}

	// A step that fails ends the build with its own exit status, and leaves no output.
	write("broken.sh", 0o755, "#!/bin/sh\necho told you so >&2\nexit 7\n")
	deb, err := archivetest.Deb{Name: "broken", Architecture: "all", Depends: "nosuch-thing"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	write("broken.deb", 0o644, string(deb))
	base = append(base, "--no-acpid", "--no-systemd-networkd", "--lock-root-password", "--tarball=root.tar")
	for option, want := range map[string]string{"--customize=broken.sh": "told you so",
		"--custom-package=broken.deb": "nosuch-thing", "--run=exit 5": "exit status 5"} {
		if _, stderr := call(exitStep, append(slices.Clone(base), option)...); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", option, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "root.tar")); err == nil {
		t.Error("a failed build has left a tarball")
	}
}
