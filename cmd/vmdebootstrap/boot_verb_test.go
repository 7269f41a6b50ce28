// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// bootVerb calls "vmdebootstrap boot".
func bootVerb(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := environment{dir: t.TempDir(), etc: t.TempDir(), now: time.Now, arch: "amd64", stat: os.Stat}
	status = run(t.Context(), append([]string{"boot"}, args...), &out, &err, env)
	return status, out.String(), err.String()
}

func TestBootTestsAnImage(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "qemu-system-x86_64")
	image := diskimagetest.MarkerDisk(t, "disk.img")
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := bootVerb(t, image, "--test", "--expect", diskimagetest.Marker, "--accel", "tcg", "--json")
	var result bootResult
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || status != exitOK || !result.Booted ||
		result.Firmware != "bios" {
		t.Errorf("status %d, %q, %q (%v)", status, stdout, stderr, err)
	}
	status, stdout, stderr = bootVerb(t, image, "--test", "--expect", "never printed", "--accel", "tcg",
		"--timeout", "3s")
	if status != exitFailed || !strings.Contains(stderr, `"never printed" was not seen: time is over`) ||
		!strings.Contains(stderr, diskimagetest.Marker) {
		t.Errorf("status %d, %q, %q: want the end of the console and why", status, stdout, stderr)
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the image was written to (%v)", err)
	}
}

// Issue 17, 1: --test waited in silence.
func TestBootShowsTheConsoleWhileItWaits(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "qemu-system-x86_64")
	image := diskimagetest.MarkerDisk(t, "disk.img")
	_, stdout, stderr := bootVerb(t, image, "--test", "--expect", "never printed", "--accel", "tcg", "--timeout", "5s",
		"--progress", "json")
	events := jsonEvents(t, stderr)
	console := func(e progress.Event) bool {
		return e.Kind == progress.Advance && e.Activity == "console" && strings.Contains(e.Text, diskimagetest.Marker)
	}
	if stdout != "" || len(events) < 4 || events[1].Title != "boot "+image || !slices.ContainsFunc(events, console) {
		t.Fatalf("got %q and\n%s", stdout, stderr)
	}
	if last := summary(t, stderr); !strings.Contains(last.Result.Error, "never") {
		t.Errorf("the last event is %+v", last)
	}
}

// Issue 17, 1: of a machine that did not start there was no summary.
func TestBootThatCannotStartEndsWithASummary(t *testing.T) {
	image := diskimagetest.MarkerDisk(t, "disk.img")
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "qemu-system-x86_64"), []byte("not a program"), 0o755))
	t.Setenv("PATH", bin)
	_, _, stderr := bootVerb(t, image, "--test", "--accel", "tcg", "--progress", "json")
	if last := summary(t, stderr); last.Result.Error == "" {
		t.Errorf("the last event is %+v", last)
	}
}

// Issue 15, 15: a guest that powers off or resets was reported as "not seen" and no more.
func TestBootTellsHowAGuestEnded(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "qemu-system-x86_64")
	for _, tt := range []struct {
		code      []byte
		want, why string
	}{
		// ACPI of QEMU's machine "pc": power off by the register at 0x604.
		{[]byte{0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4}, "powered off", "the guest has powered off"},
		// Reset by the keyboard controller.
		{[]byte{0xb0, 0xfe, 0xe6, 0x64, 0xf4}, "reset", "the guest has reset the machine"},
	} {
		image := diskimagetest.BootSector(t, "disk.img", tt.code)
		status, stdout, stderr := bootVerb(t, image, "--test", "--accel", "tcg", "--json")
		var result bootResult
		if err := json.Unmarshal([]byte(stdout), &result); err != nil || status != exitFailed || result.Booted ||
			result.Reason != tt.want || !strings.Contains(stderr, tt.why) {
			t.Errorf("status %d, %q, %q (%v): want %s", status, stdout, stderr, err, tt.want)
		}
	}
}

// Issue 15, 15: the firmware found no partition table of 4096-byte sectors, because the disk had others.
func TestBootReadsTheSectorSize(t *testing.T) {
	t.Parallel()
	for _, sector := range []diskimage.Size{diskimage.SectorSize, diskimage.SectorSize4K} {
		layout, err := diskimage.NewLayout(diskimage.Request{Size: 16 * diskimage.MiB, Table: diskimage.GPT,
			SectorSize: sector, ID: uuid.Max, Arch: "amd64", Partitions: []diskimage.PartitionRequest{
				{Role: diskimage.RoleRoot}}})
		if err != nil {
			t.Fatal(err)
		}
		raw := filepath.Join(t.TempDir(), "disk.img")
		f, err := os.Create(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(int64(layout.Size)), diskimage.WriteTable(f, layout), f.Close()); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"raw", "qcow2"} {
			image := raw
			if format != "raw" {
				diskimagetest.Tool(t, "qemu-img")
				image = raw + "." + format
				diskimagetest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, image)
			}
			b := bootCall{machine: vm.Machine{Image: image, Format: format}}
			if err := b.inspect(t.Context(), t.TempDir()); err != nil || b.machine.SectorSize != int(sector) {
				t.Errorf("%s: sectors of %d bytes (%v), want %d", format, b.machine.SectorSize, err, sector)
			}
		}
	}
}

// Issue 17, 4: QEMU started with any file, and its firmware found nothing to boot.
func TestBootRefusesWhatIsNoDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"notes.txt": strings.Repeat("a text\n", 200), "short": "x",
		"zeros": strings.Repeat("\x00", 1<<20)} {
		image := filepath.Join(dir, name)
		if err := os.WriteFile(image, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, stdout, stderr := bootVerb(t, image, "--test"); status != exitFailed || stdout != "" ||
			!strings.Contains(stderr, name+" is not a disk image") {
			t.Errorf("%s: status %d, %q, %q", name, status, stdout, stderr)
		}
	}
}

func TestBootFindsMistakesFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, exitUsage, "Usage: vmdebootstrap boot IMAGE"},
		{[]string{filepath.Join(dir, "none.img")}, exitFailed, "no such file"},
		{[]string{"x.img", "--firmware", "efi"}, exitUsage, `unknown firmware "efi"; want bios, uefi, secureboot, u-boot`},
		{[]string{"x.img", "--test", "--expect", "("}, exitUsage, "--expect"},
		{[]string{"x.img", "--test", "--run", "true"}, exitUsage, "--run needs --login or --ssh"},
		{[]string{"x.img", "--ssh", "--test"}, exitUsage, "--ssh excludes --test"},
		{[]string{"x.img", "--ssh", "--network=false"}, exitUsage, "needs the network"},
		{[]string{"x.img", "--json"}, exitUsage, "need --test"},
		{[]string{"x.img", "--jobs", "2"}, exitUsage, "need --test"},
		{[]string{"x.img", "--test", "--jobs", "-1"}, exitUsage, "--jobs: -1"},
		{[]string{"x.img", "y.img"}, exitUsage, "several images or kinds of firmware need --test"},
		{[]string{"x.img", "--firmware", "bios,uefi"}, exitUsage, "several images or kinds of firmware need --test"},
		{[]string{"--test", "--", "x.img"}, exitUsage, "IMAGE is missing"},
		{[]string{"x.img", "--test", "--checks", "x"}, exitUsage, "--checks needs --login"},
		{[]string{"x.img", "--test", "--screenshots", filepath.Join(dir, "none")}, exitFailed, "make it first"},
		{[]string{"x.img", "--ssh", "--arch", "riscv64"}, exitUsage, "systemd gets no key from U-Boot"},
		{[]string{"x.img", "--test", "--firmware", "bios", "--firmware", "efi"}, exitUsage, `unknown firmware "efi"`},
		{[]string{"x.img", "--test", "--login", "root:env:NONE"}, exitFailed,
			"--login: environment variable NONE is not set"},
	} {
		status, _, stderr := bootVerb(t, tt.args...)
		if status != tt.status || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: status %d, %q, want %d and %q", tt.args, status, stderr, tt.status, tt.want)
		}
	}
}

func TestImageFormatIsDetected(t *testing.T) {
	t.Parallel()
	medium := filepath.Join(t.TempDir(), "live.iso")
	if err := os.WriteFile(medium, append(make([]byte, 32769), "CD001"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, iso, err := imageFormat(medium); err != nil || got != "raw" || !iso {
		t.Errorf("got %q, ISO %t (%v), want a raw ISO image", got, iso, err)
	}
	for format, head := range map[string]string{
		"qcow2": "QFI\xfb", "vmdk": "KDMV", "vhdx": "vhdxfile", "vpc": "conectix", "vdi": strings.Repeat("<", 64) +
			"\x7f\x10\xda\xbe", "raw": "\xeb\x63",
	} {
		name := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(name, append([]byte(head), make([]byte, 512-len(head))...), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, iso, err := imageFormat(name); err != nil || got != format || iso {
			t.Errorf("got %q, ISO %t (%v), want %q", got, iso, err, format)
		}
	}
}
