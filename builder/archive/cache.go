// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is a directory of files that are named by their SHA256: sha256/ab/abcd…. A file appears in it complete or
// not at all, so several processes may use one Cache at once. The time of a file is that of its last use. The
// directory responses says which of them a URL had last.
type Cache struct {
	dir string
	// downloads has a lock for each file that this process downloads or has downloaded, by its digest; mu guards it.
	downloads map[string]*sync.Mutex
	mu        sync.Mutex
}

// lockDownload waits until no other goroutine downloads a file, and has the others wait until unlock is called.
func (c *Cache) lockDownload(digest string) (unlock func()) {
	c.mu.Lock()
	lock := c.downloads[digest]
	if lock == nil {
		lock = &sync.Mutex{}
		c.downloads[digest] = lock
	}
	c.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// Modes of files in a cache, before the umask.
const (
	dirMode  = 0o777
	fileMode = 0o666
)

// NewCache returns the Cache in a directory, which it makes if needed.
func NewCache(dir string) (*Cache, error) {
	c := &Cache{dir: dir, downloads: map[string]*sync.Mutex{}}
	for _, d := range []string{c.files(), c.temp()} {
		if err := os.MkdirAll(d, dirMode); err != nil {
			return nil, fmt.Errorf("make cache: %w", err)
		}
	}
	return c, nil
}

func (c *Cache) files() string { return filepath.Join(c.dir, "sha256") }
func (c *Cache) temp() string  { return filepath.Join(c.dir, "tmp") }

// Path returns the path of the file with the given digest, in the cache or not. The digest is in lower-case
// hexadecimal.
func (c *Cache) Path(digest string) string {
	return filepath.Join(c.files(), digest[:min(len(digest), 2)], digest)
}

// Verify reports whether the cache has the file, whose content it checks. It removes a damaged file.
func (c *Cache) Verify(ctx context.Context, digest string) (bool, error) {
	return c.read(ctx, digest, io.Discard)
}

// read is Verify, which writes what it checks to dst: the file's content if the result is true.
func (c *Cache) read(ctx context.Context, digest string, dst io.Writer) (bool, error) {
	if !validDigest(digest) {
		return false, fmt.Errorf("cache: %q is not a SHA256 digest", digest)
	}
	f, err := os.Open(c.Path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	defer f.Close()
	got, err := sum(ctx, f, dst)
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if got != digest {
		if err := c.remove(digest); err != nil {
			return false, fmt.Errorf("cache: %w", err)
		}
		return false, nil
	}
	return true, c.use(digest)
}

// use notes that a file has been used now.
func (c *Cache) use(digest string) error {
	// By the kernel's clock.
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, c.Path(digest), now, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cache: mark %s as used: %w", digest, err)
	}
	return nil
}

// Add copies a file into the cache, for example a .deb that apt has downloaded, and returns its digest.
func (c *Cache) Add(ctx context.Context, src *os.File) (digest string, err error) {
	if digest, err = sum(ctx, src, io.Discard); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if ok, err := c.Verify(ctx, digest); ok || err != nil {
		return digest, err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	tmp, err := c.create()
	if err != nil {
		return "", err
	}
	defer tmp.discard()
	if digest, err = sum(ctx, src, tmp); err != nil {
		return "", fmt.Errorf("cache: copy %s: %w", src.Name(), err)
	}
	return digest, tmp.keep(digest)
}

// put adds data whose digest is known.
func (c *Cache) put(digest string, data []byte) error {
	tmp, err := c.create()
	if err != nil {
		return err
	}
	defer tmp.discard()
	if _, err := tmp.Write(data); err != nil {
		return fmt.Errorf("cache: keep %s: %w", digest, err)
	}
	return tmp.keep(digest)
}

// Copy copies a cached file to name below dir, which must not exist. Unlike with a hard link, a program that writes to
// the copy does not change the cache. On a file system that can share blocks (btrfs, xfs) no data is copied. Copy
// checks the digest of the copy. If it differs, or the cache lacks the file, the error wraps fs.ErrNotExist and name
// does not exist; a damaged file is removed from the cache.
func (c *Cache) Copy(ctx context.Context, digest string, dir *os.Root, name string) (err error) {
	if !validDigest(digest) {
		return fmt.Errorf("cache: %q is not a SHA256 digest", digest)
	}
	src, err := os.Open(c.Path(digest))
	if err != nil {
		return fmt.Errorf("cache: copy %s: %w", digest, err)
	}
	defer src.Close()
	dst, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cache: copy %s: %w", digest, err)
	}
	defer func() {
		if err = errors.Join(err, dst.Close()); err != nil {
			err = fmt.Errorf("cache: copy %s: %w", digest, errors.Join(err, dir.Remove(name)))
		}
	}()
	var got string
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		got, err = sum(ctx, dst, io.Discard)
	} else {
		got, err = sum(ctx, src, dst)
	}
	if err != nil {
		return err
	}
	if got != digest {
		return errors.Join(fmt.Errorf("digest mismatch: got %s: %w", got, fs.ErrNotExist), c.remove(digest))
	}
	return c.use(digest)
}

// remove removes a damaged file from the cache.
func (c *Cache) remove(digest string) error {
	if err := os.Remove(c.Path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove damaged file: %w", err)
	}
	return nil
}

// Evict removes files that were not used for longer than maxAge and then, while the cache has more than maxBytes, the
// least recently used ones. It also removes temporary files of killed processes. It returns the number of cached files
// that it has removed, and their bytes.
func (c *Cache) Evict(now time.Time, maxAge time.Duration, maxBytes int64) (files int, bytes int64, err error) {
	var all []cached
	if all, err = c.list(); err != nil {
		return 0, 0, err
	}
	slices.SortFunc(all, func(a, b cached) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	var total int64
	for _, f := range all {
		total += f.size
	}
	for _, f := range all {
		if now.Sub(f.used) <= maxAge && total <= maxBytes {
			break
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files, bytes, fmt.Errorf("cache: %w", err)
		}
		total -= f.size
		files++
		bytes += f.size
	}
	return files, bytes, errors.Join(c.removeResponses(), c.removeLeftovers(now))
}

// Usage returns the number of files in the cache and their bytes.
func (c *Cache) Usage() (files int, bytes int64, err error) {
	all, err := c.list()
	for _, f := range all {
		bytes += f.size
	}
	return len(all), bytes, err
}

// cached is a file in the cache.
type cached struct {
	path string
	size int64
	used time.Time
}

// list returns the files in the cache.
func (c *Cache) list() ([]cached, error) {
	var all []cached
	err := filepath.WalkDir(c.files(), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // see below
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process has removed it
		}
		if err == nil {
			all = append(all, cached{path, info.Size(), info.ModTime()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return all, nil
}

// removeLeftovers removes temporary files that are too old for a running process to be writing to.
func (c *Cache) removeLeftovers(now time.Time) error {
	const longest = 24 * time.Hour
	entries, err := os.ReadDir(c.temp())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cache: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > longest {
			err = os.Remove(filepath.Join(c.temp(), e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cache: %w", err)
		}
	}
	return nil
}

// newFile is a temporary file that may become part of the cache.
type newFile struct {
	*os.File
	cache *Cache
}

func (c *Cache) create() (*newFile, error) {
	f, err := os.OpenFile(filepath.Join(c.temp(), "new-"+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &newFile{f, c}, nil
}

// truncate empties the file.
func (f *newFile) truncate() error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return f.Truncate(0)
}

// keep closes the file and makes it part of the cache. It does not sync, which would take seconds for a hundred files:
// Verify finds what a crash has damaged.
func (f *newFile) keep(digest string) error {
	if err := f.moveTo(f.cache.Path(digest)); err != nil {
		return fmt.Errorf("cache: keep %s: %w", digest, err)
	}
	return nil
}

// moveTo closes the file and gives it its name, in a directory that it makes if needed.
func (f *newFile) moveTo(name string) error {
	err := f.Close()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), dirMode)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

// discard removes the file unless it was kept.
func (f *newFile) discard() {
	// Both fail after keep; otherwise a failure leaves a temporary file that Evict removes.
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// sum copies src to dst and returns the digest of what it has read.
func sum(ctx context.Context, src io.Reader, dst io.Writer) (string, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := src.Read(buf)
		h.Write(buf[:n]) // a hash never fails
		if _, err := dst.Write(buf[:n]); err != nil {
			return "", err
		}
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
