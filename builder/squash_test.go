// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// The directory of a --squash that had failed stayed, empty (issue 15, 8 and 17).
func TestFailedSquashLeavesNoDirectory(t *testing.T) {
	t.Parallel()
	bad := errors.New("cannot be read")
	sources := func(err error) map[string]func() (io.ReadCloser, error) {
		return map[string]func() (io.ReadCloser, error){
			"a":         func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil },
			"efi/EFI/b": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("b")), err },
		}
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "new", "live")
	if err := writeDirectory(t.Context(), out, sources(bad)); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v (%v)", entries, err)
	}
	if err := os.MkdirAll(filepath.Join(out, "efi"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeDirectory(t.Context(), out, sources(bad)); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(out, "efi")); err != nil || len(entries) > 0 {
		t.Errorf("a directory that was there: left %v (%v)", entries, err)
	}
	if err := writeDirectory(t.Context(), out, sources(nil)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "efi/EFI/b")); err != nil || string(text) != "b" {
		t.Errorf("got %q (%v)", text, err)
	}
}

// The program for 32-bit firmware was on the ESP only (issue 15, 17).
func TestSquashHasTheProgramFor32BitFirmware(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]bool{"amd64": true, "arm64": false} {
		spec, err := NewSpec(options(func(o *Options) {
			o.Image, o.Squash, o.Arch, o.Grub, o.UseUEFI = "", "live", arch, true, true
		}), testWorld())
		if err != nil {
			t.Fatal(err)
		}
		for _, there := range []bool{true, false} {
			files := map[string]string{}
			if there {
				files[boot.MonolithicGRUB("i386-efi")] = "grub"
			}
			list, err := squashEFI(targettest.New(t, files), spec)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, f := range list {
				if f.To == "EFI/BOOT/BOOTIA32.EFI" || f.To == "EFI/debian/grubia32.efi" {
					found++
				}
			}
			if (found == 2) != (want && there) {
				t.Errorf("%s, in the system: %t: got %v", arch, there, list)
			}
		}
	}
}
