// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLargeFilesAreReadAgainOnlyIfStateChanged forges index entries, to see which are used.
func TestLargeFilesAreReadAgainOnlyIfStateChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, index := filepath.Join(dir, "large"), filepath.Join(dir, "records/contents.json")
	write := func(content byte) {
		t.Helper()
		if err := os.WriteFile(name, bytes.Repeat([]byte{content}, minIndexed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(after time.Duration) *contents {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return &contents{digestIndex{file: index, now: func() time.Time { return info.ModTime().Add(after) }}}
	}
	digest := func(c *contents) Digest {
		t.Helper()
		d, err := c.digest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.index.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d
	}
	write('a')
	first := digest(at(time.Second))
	if _, err := os.Stat(index); err == nil {
		t.Error("a file that was changed just now is noted")
	}
	if digest(at(time.Hour)) != first {
		t.Error("the same content has two digests")
	}
	later := at(time.Hour)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, noted := later.index.lookup(name, stateOf(info)); !noted {
		t.Error("an old file is not noted")
	}
	// An index entry is used without reading the file.
	later.index.entries[name] = indexEntry{stateOf(info), "forged"}
	if digest(later) != "forged" {
		t.Error("the file is read again")
	}
	// Other content of the same size with the old mtime: the ctime differs.
	if err := changeKeepingTime(name, func() error { write('b'); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := digest(later); got == "forged" || got == first {
		t.Errorf("other content has the digest %s", got)
	}
	if err := os.WriteFile(index, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := digest(at(time.Hour)); got == first {
		t.Error("a damaged index is used")
	}
}

func TestDigestIncludesExtendedAttributes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	var c contents
	before, err := c.digest(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(name, "user.test", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if after, err := c.digest(t.Context(), name); err != nil || after == before {
		t.Errorf("the digest is the same with an attribute (%v)", err)
	}
}
