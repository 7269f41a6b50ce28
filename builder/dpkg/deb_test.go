// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// TestRepackedPackagesAreTakenByDigest: a package of DerivedDir is read in place of one with the digest that is its
// name, and of no other, whatever that is called.
func TestRepackedPackagesAreTakenByDigest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, err := archivetest.Deb{Name: "a", Compression: ".xz",
		Files: []archivetest.File{{Name: "opt/a", Content: "a"}}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var repacked bytes.Buffer
	if err := debfile.Repack(&repacked, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	changed := append(bytes.Clone(data), '\n')
	for name, content := range map[string][]byte{
		"a.deb": data, "changed.deb": changed, fmt.Sprintf("%x", sha256.Sum256(data)): repacked.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer packages.Close()
	for name, want := range map[string]bool{"a.deb": true, "changed.deb": false} {
		f, err := newReader(1, packages).open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, repacked.Len())
		if _, err := f.Read(text); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Equal(text, repacked.Bytes()); got != want {
			t.Errorf("%s: the repacked package is used: %t, want %t", name, got, want)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
