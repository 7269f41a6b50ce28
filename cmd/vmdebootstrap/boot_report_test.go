// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Issue 18, 10: a boot test is added to the page of its image.
func TestBootTestAddsToThePage(t *testing.T) {
	dir := installGuest(t, guest)
	image, page := diskimagetest.MarkerDisk(t, "disk.img"), filepath.Join(dir, "page.html")
	checks := filepath.Join(dir, "checks.yaml")
	writeText(t, checks, "units: [ssh.service, cron.service]\n")
	test := func(args ...string) (int, string) {
		status, _, stderr := bootVerb(t, append([]string{image, "--test", "--accel=tcg", "--timeout=1m", "--report=" + page},
			args...)...)
		return status, stderr
	}
	if status, stderr := test("--login=root", "--checks="+checks); status != exitFailed ||
		!strings.Contains(stderr, "1 of 2 checks failed") {
		t.Fatalf("status %d, %q", status, stderr)
	}
	r, err := htmlreport.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Boots) != 1 || !r.Boots[0].Booted || len(r.Boots[0].Checks) != 2 || !r.Boots[0].Checks[0].OK ||
		r.Boots[0].Checks[1].OK || r.Boots[0].Console != "debian login: " || r.Image.Disk == nil {
		t.Errorf("got %+v, %+v", r.Boots, r.Image)
	}
	// A program in place of QEMU starts with any firmware.
	if status, stderr := test("--firmware=uefi", "--expect=never printed", "--timeout=2s"); status != exitFailed {
		t.Errorf("status %d, %q", status, stderr)
	}
	if r, err = htmlreport.ReadFile(page); err != nil || len(r.Boots) != 2 || r.Boots[1].Booted || r.Boots[1].Error == "" {
		t.Errorf("got %+v, %v", r.Boots, err)
	}
	text := readFile(t, page)
	if strings.Count(text, "booted in") != 1 || strings.Count(text, "ended after") != 1 {
		t.Errorf("the page does not say which of the two machines booted:\n%s", text)
	}

	// What is in the way is known before the machine starts.
	other := filepath.Join(dir, "other.img")
	if err := os.Rename(image, other); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"is the page of " + image + ": remove": {other, "--report=" + page}, "it is no page": {other, "--report=" + checks},
		"no such file": {other, "--report=/gone/page.html"}, "--report need --test": {other, "--test=false", "--report=x"},
	} {
		status, _, stderr := bootVerb(t, append([]string{"--test"}, args...)...)
		if status == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, %q, want %q", args, status, stderr, want)
		}
	}
}
