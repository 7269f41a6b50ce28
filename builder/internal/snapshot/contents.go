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

// contents gives digests of files that hooks have opened. It notes those of large files in a file beside the store, as
// git's index does, and reads them again only if their state is another. Times decide nothing else.
type contents struct {
	// index is the file of notes; empty for none. now is a clock.
	index string
	now   func() time.Time

	mu    sync.Mutex
	notes map[string]contentNote
	dirty bool
}

// contentNote is the digest of a file in a state.
type contentNote struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds
	Digest       Digest
}

const (
	// leastNoted is the size from which a file is noted: to read a smaller one costs less than to look it up.
	leastNoted = 256 << 10
	// mostNoted is how many files are noted, some 30 MB of them at least.
	mostNoted = 10_000
	// racy is how old a state must be to be noted: a file that is changed twice within the resolution of its
	// time has the same state both times. FAT has the coarsest, two seconds.
	racy = 2 * time.Second
)

// errNoFile says that a name is not that of a regular file.
var errNoFile = errors.New("not a file")

// digest is that of a file's content and extended attributes, which cp -a copies.
func (c *contents) digest(ctx context.Context, name string) (Digest, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTDIR) {
		return "", fmt.Errorf("%s: %w", name, errNoFile)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", fmt.Errorf("look at %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fmt.Errorf("%s: %w", name, errNoFile)
	}
	if digest, noted := c.noted(name, &st); noted {
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
	c.note(name, &st, digest)
	return digest, nil
}

// noted looks a digest up that is known for a file in this state.
func (c *contents) noted(name string, st *unix.Stat_t) (Digest, bool) {
	if c.index == "" || st.Size < leastNoted {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notes == nil {
		c.notes = map[string]contentNote{}
		if text, err := os.ReadFile(c.index); err != nil || json.Unmarshal(text, &c.notes) != nil {
			c.notes = map[string]contentNote{} // the first build, or a damaged file: all is read again
		}
	}
	note, found := c.notes[name]
	return note.Digest, found && note == newContentNote(st, note.Digest)
}

// note notes a digest of a file that was in a state before it was read. If it has changed meanwhile, its state is
// another one by now; if it has changed just before, a second change might not show.
func (c *contents) note(name string, st *unix.Stat_t, digest Digest) {
	note := newContentNote(st, digest)
	if c.index == "" || st.Size < leastNoted || max(note.Mtime, note.Ctime) > c.now().Add(-racy).UnixNano() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes[name], c.dirty = note, true
}

func newContentNote(st *unix.Stat_t, digest Digest) contentNote {
	return contentNote{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano(), digest}
}

// save writes the notes down. What is lost, because two builds save at once, is read again.
func (c *contents) save(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	for name := range c.notes {
		if _, err := os.Lstat(name); err != nil || len(c.notes) > mostNoted {
			delete(c.notes, name)
		}
	}
	text, err := json.Marshal(c.notes)
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

// hostXattrs are those that are a machine's own.
var hostXattrs = []string{"security.selinux", "security.ima", "security.evm", "security.apparmor"}

// xattrTexts are names and values of an open file's extended attributes, sorted by name; none where there are no such
// things.
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

// UntilDone returns a reader that reads until the context is done.
func UntilDone(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

// contextReader is what untilDone returns.
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
