// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// contents computes digests of files that hooks have opened. It saves those of large files in an index beside
// the store, like git, and reads such a file again only if its state has changed. Times decide nothing else.
type contents struct {
	// index is the index file; empty for none. now is the clock.
	index string
	now   func() time.Time

	mu      sync.Mutex
	entries map[string]indexEntry
	dirty   bool
}

// indexEntry is the digest of a file in a certain state.
type indexEntry struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds
	Digest       Digest
}

const (
	// minIndexed is the size from which files are indexed: reading a smaller one costs less than looking it up.
	minIndexed = 256 << 10
	// maxIndexed limits the number of indexed files.
	maxIndexed = 10_000
	// racy is the minimum age of an indexed state: a file that changes twice within the resolution of its times has the
	// same state both times. FAT has the coarsest resolution, two seconds.
	racy = 2 * time.Second
)

// errNotRegular says that a name is not that of a regular file.
var errNotRegular = errors.New("not a regular file")

// digest returns the digest of a file's content and extended attributes, which cp -a copies.
func (c *contents) digest(ctx context.Context, name string) (Digest, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTDIR) {
		return "", fmt.Errorf("%s: %w", name, errNotRegular)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fmt.Errorf("%s: %w", name, errNotRegular)
	}
	if digest, found := c.lookup(name, &st); found {
		return digest, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, UntilDone(ctx, f)); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	attributes, err := xattrTexts(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("read attributes of %s: %w", name, err)
	}
	digest := HashOf(append(attributes, hex.EncodeToString(h.Sum(nil)))...)
	c.add(name, &st, digest)
	return digest, nil
}

// lookup returns the indexed digest of a file in this state.
func (c *contents) lookup(name string, st *unix.Stat_t) (Digest, bool) {
	if c.index == "" || st.Size < minIndexed {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]indexEntry{}
		if text, err := os.ReadFile(c.index); err != nil || json.Unmarshal(text, &c.entries) != nil {
			c.entries = map[string]indexEntry{} // the first build, or a damaged index: all files are read again
		}
	}
	e, found := c.entries[name]
	return e.Digest, found && e == newIndexEntry(st, e.Digest)
}

// add indexes the digest of a file with its state before it was read. If it changed meanwhile, its state
// differs now; if it changed just before, another change may have left the state the same.
func (c *contents) add(name string, st *unix.Stat_t, digest Digest) {
	e := newIndexEntry(st, digest)
	if c.index == "" || st.Size < minIndexed || max(e.Mtime, e.Ctime) > c.now().Add(-racy).UnixNano() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[name], c.dirty = e, true
}

func newIndexEntry(st *unix.Stat_t, digest Digest) indexEntry {
	return indexEntry{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano(), digest}
}

// save writes the index. Of two builds that save at once, one loses entries, and those files are read again.
func (c *contents) save(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	for name := range c.entries {
		if _, err := os.Lstat(name); err != nil || len(c.entries) > maxIndexed {
			delete(c.entries, name)
		}
	}
	text, err := json.Marshal(c.entries)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.index), 0o700); err != nil {
		return err
	}
	c.dirty = false
	return diskimage.WriteFile(ctx, c.index, 0o600, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// hostXattrs are attributes that are specific to a machine.
var hostXattrs = []string{"security.selinux", "security.ima", "security.evm", "security.apparmor"}

// xattrTexts returns the names and values of an open file's extended attributes, sorted by name; nil if the file system
// does not support them.
func xattrTexts(fd int) ([]string, error) {
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX, XATTR_SIZE_MAX
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, name := range slices.Sorted(strings.SplitSeq(string(buf[:n]), "\x00")) {
		if name == "" || slices.Contains(hostXattrs, name) {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, buf)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			continue
		}
		if err != nil {
			return nil, err
		}
		texts = append(texts, name, string(buf[:n]))
	}
	return texts, nil
}

// UntilDone returns a reader of r that fails when the context is done.
func UntilDone(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

// contextReader implements UntilDone.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
