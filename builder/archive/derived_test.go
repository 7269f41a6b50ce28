// SPDX-License-Identifier: Apache-2.0

package archive_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// TestRepackedCopiesAreOfIntactPackages repacks packages of a cache, and one that is damaged there.
func TestRepackedCopiesAreOfIntactPackages(t *testing.T) {
	t.Parallel()
	cache, err := archive.NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(compression string) string {
		data, err := archivetest.Deb{Name: "a", Compression: compression}.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "a.deb")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		digest, err := cache.Add(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	for _, c := range []struct {
		compression string
		damaged     bool
		want        bool
	}{{".xz", false, true}, {".gz", false, false}, {".zst", false, false}, {".xz", true, false}} {
		digest := add(c.compression)
		if c.damaged {
			if err := os.WriteFile(cache.Path(digest), []byte("!<arch>\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(cache.Path(digest)))),
				"repacked")); err != nil {
				t.Fatal(err)
			}
		}
		if got := cache.Derived(archive.RepackedKind, digest); got != "" {
			t.Errorf("%s has the copy %s before it is made", c.compression, got)
		}
		repacked, err := cache.Repack(t.Context(), digest)
		if err != nil {
			t.Errorf("%s: %v", c.compression, err)
		}
		if (repacked != "") != c.want || cache.Derived(archive.RepackedKind, digest) != repacked {
			t.Errorf("%s, damaged %t: the copy is %q, found as %q", c.compression, c.damaged, repacked, cache.Derived(archive.RepackedKind, digest))
		}
		if repacked == "" {
			continue
		}
		if ok, err := cache.Verify(t.Context(), repacked); !ok || err != nil {
			t.Errorf("%s: the copy is not in the cache: %v", c.compression, err)
		}
	}
}
