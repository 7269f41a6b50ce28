// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// bootVerb calls "vmdebootstrap boot".
func bootVerb(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := environment{dir: t.TempDir(), etc: t.TempDir(), now: time.Now, arch: "amd64"}
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
		{[]string{"x.img", "--firmware", "efi"}, exitUsage, `unknown firmware "efi"; want bios, uefi or secureboot`},
		{[]string{"x.img", "--test", "--expect", "("}, exitUsage, "--expect"},
		{[]string{"x.img", "--test", "--run", "true"}, exitUsage, "--run needs --login"},
		{[]string{"x.img", "--json"}, exitUsage, "need --test"},
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
	for format, head := range map[string]string{
		"qcow2": "QFI\xfb", "vmdk": "KDMV", "vhdx": "vhdxfile", "vpc": "conectix", "vdi": strings.Repeat("<", 64) +
			"\x7f\x10\xda\xbe", "raw": "\xeb\x63",
	} {
		name := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(name, append([]byte(head), make([]byte, 512)...), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := imageFormat(name); err != nil || got != format {
			t.Errorf("got %q (%v), want %q", got, err, format)
		}
	}
}
