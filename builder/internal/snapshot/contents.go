// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// contents computes digests of files that hooks have opened. It reads large files again only if their state has
// changed. Times decide nothing else.
type contents struct{ index digestIndex }

// minIndexed is the size from which files are indexed: reading a smaller one costs less than looking it up.
const minIndexed = 256 << 10

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
	state, indexed := fileStateOf(&st), st.Size >= minIndexed
	if indexed {
		if digest, found := c.index.lookup(name, state); found {
			return digest, nil
		}
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
	if indexed {
		c.index.add(name, state, digest)
	}
	return digest, nil
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
