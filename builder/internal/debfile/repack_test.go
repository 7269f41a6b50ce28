// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// plainMember returns a decompressed member of a .deb.
func plainMember(t *testing.T, deb []byte, stem string) string {
	t.Helper()
	plain, err := open(bytes.NewReader(deb), stem)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRepackKeepsMembers compares the members of packages with those of their copies, which dpkg-deb reads too.
func TestRepackKeepsMembers(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{".xz", ".gz", ".zst", ".none"} {
		for _, size := range []int{0, 1, 1000, 300_000} {
			data, err := archivetest.Deb{Name: "a", Compression: compression,
				Scripts: map[string]string{"preinst": "#!/bin/sh\n"},
				Files:   []archivetest.File{{Name: "opt/a", Content: strings.Repeat("x", size)}}}.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			var copied bytes.Buffer
			if err := Repack(&copied, bytes.NewReader(data)); err != nil {
				t.Fatalf("%s: %v", compression, err)
			}
			for _, stem := range []string{"control.tar", "data.tar"} {
				if plainMember(t, copied.Bytes(), stem) != plainMember(t, data, stem) {
					t.Errorf("%s, %d bytes: %s differs", compression, size, stem)
				}
			}
			if xz, err := DataIsXZ(bytes.NewReader(data)); err != nil || xz != (compression == ".xz") {
				t.Errorf("%s: xz is %t (%v)", compression, xz, err)
			}
		}
	}
}

// TestRepackOfADamagedPackageFails cuts packages at each of some places.
func TestRepackOfADamagedPackageFails(t *testing.T) {
	t.Parallel()
	data, err := archivetest.Deb{Name: "a", Compression: ".xz",
		Files: []archivetest.File{{Name: "opt/a", Content: "a"}}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(data)-8; n += 16 {
		if err := Repack(io.Discard, bytes.NewReader(data[:n])); err == nil {
			t.Errorf("no error for %d of %d bytes", n, len(data))
		}
	}
}

// TestDpkgReadsRepackedPackages has dpkg-deb list the content of a copy.
func TestDpkgReadsRepackedPackages(t *testing.T) {
	t.Parallel()
	dpkgDeb := diskimagetest.Tool(t, "dpkg-deb")
	data, err := archivetest.Deb{Name: "a", Compression: ".xz",
		Files: []archivetest.File{{Name: "opt/a", Content: "a"}}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if err := Repack(&copied, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a.deb")
	if err := os.WriteFile(name, copied.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out := diskimagetest.Run(t, dpkgDeb, "--contents", name)
	if !strings.Contains(out, "./opt/a") {
		t.Errorf("dpkg-deb reads %q", out)
	}
}
