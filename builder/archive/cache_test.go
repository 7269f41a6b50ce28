// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// addText adds a file with the given text and returns its digest.
func addText(t *testing.T, c *Cache, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	digest, err := addFile(t, c, name)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func addFile(t *testing.T, c *Cache, name string) (string, error) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return c.Add(t.Context(), f)
}

func TestCacheNamesFilesByTheirDigest(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4's example
	if digest := addText(t, c, "abc"); digest != abc {
		t.Errorf("digest is %s", digest)
	}
	if want := filepath.Join(c.dir, "sha256", "ba", abc); c.Path(abc) != want {
		t.Errorf("path is %s, want %s", c.Path(abc), want)
	}
	info, err := os.Stat(c.Path(abc))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("got %v, %v", info, err)
	}
	again, err := NewCache(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := again.Verify(t.Context(), abc); !ok || err != nil {
		t.Errorf("opened again: %v, %v", ok, err)
	}
	if _, err := c.Verify(t.Context(), "../../etc/passwd"); err == nil {
		t.Error("a path passes as a digest")
	}
}

func TestCacheCopyIsIndependentOfCache(t *testing.T) {
	t.Parallel()
	// On /dev/shm the copy is on another file system than the cache.
	for _, dir := range []string{t.TempDir(), otherFileSystem(t)} {
		c := newCache(t)
		digest := addText(t, c, "content")
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := c.Copy(t.Context(), digest, root, "copy"); err != nil {
			t.Fatal(err)
		}
		if data, err := root.ReadFile("copy"); string(data) != "content" || err != nil {
			t.Errorf("got %q, %v", data, err)
		}
		if err := c.Copy(t.Context(), digest, root, "copy"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a file: got %v", err)
		}
		if err := root.WriteFile("copy", []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if ok, err := c.Verify(t.Context(), digest); !ok || err != nil {
			t.Errorf("the cache's file changed with its copy: %v", err)
		}
		if err := os.WriteFile(c.Path(digest), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.Copy(t.Context(), digest, root, "copy2"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a damaged file: got %v", err)
		}
		for _, name := range []string{c.Path(digest), filepath.Join(dir, "copy2")} {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s remains: %v", name, err)
			}
		}
	}
}

// otherFileSystem returns a new directory on the file system of /dev/shm.
func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "archive-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(strings.Repeat("x", 1<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			other, err := NewCache(c.dir)
			if err != nil {
				t.Error(err)
				return
			}
			digest, err := addFile(t, other, name)
			if err != nil {
				t.Error(err)
				return
			}
			if ok, err := other.Verify(t.Context(), digest); !ok || err != nil {
				t.Errorf("got %v, %v", ok, err)
			}
		})
	}
	wg.Wait()
}

func TestEvictRemovesTheOldestFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		maxAge   time.Duration
		maxBytes int64
		left     string
	}{
		{10 * day, math.MaxInt64, "0 1 2 3"},
		{2 * day, math.MaxInt64, "0 1 2"},
		{10 * day, 250, "0 1"},
		{10 * day, 0, ""},
		{0, math.MaxInt64, "0"},
	} {
		t.Run(fmt.Sprintf("%v, %d bytes", tt.maxAge, tt.maxBytes), func(t *testing.T) {
			t.Parallel()
			c := newCache(t)
			digests := make([]string, 4)
			for i := range digests { // i days old, 100 bytes
				digests[i] = addText(t, c, strings.Repeat(fmt.Sprint(i), 100))
				used := now.Add(-time.Duration(i) * day)
				if err := os.Chtimes(c.Path(digests[i]), used, used); err != nil {
					t.Fatal(err)
				}
			}
			stale := filepath.Join(c.temp(), "new-1")
			if err := os.WriteFile(stale, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(stale, now.Add(-2*day), now.Add(-2*day)); err != nil {
				t.Fatal(err)
			}
			files, bytes, err := c.Evict(now, tt.maxAge, tt.maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for i, digest := range digests {
				if _, err := os.Stat(c.Path(digest)); err == nil {
					left = append(left, fmt.Sprint(i))
				}
			}
			if got := strings.Join(left, " "); got != tt.left {
				t.Errorf("remaining files: got %q, want %q", got, tt.left)
			}
			if files != 4-len(left) || bytes != int64(100*files) {
				t.Errorf("Evict returned %d files and %d bytes", files, bytes)
			}
			if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a temporary file of a dead process remains: %v", err)
			}
		})
	}
}

func TestVerifyUpdatesTimeOfUse(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	digest := addText(t, c, "x")
	old := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(c.Path(digest), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.Path(digest)); err != nil || !info.ModTime().After(old) {
		t.Errorf("got %v, %v", info, err)
	}
}
