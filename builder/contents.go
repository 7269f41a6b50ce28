package builder

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

// contents gives digests of files that hooks have opened.
type contents struct{}

// errNoFile says that a name is not that of a regular file.
var errNoFile = errors.New("not a file")

// digest is that of a file's content and extended attributes, which cp -a copies.
func (contents) digest(ctx context.Context, name string) (Digest, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTDIR) {
		return "", fmt.Errorf("%s: %w", name, errNoFile)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: %w", name, errNoFile)
	}
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	attributes, err := xattrTexts(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("read attributes of %s: %w", name, err)
	}
	return hashOf(append(attributes, hex.EncodeToString(h.Sum(nil)))...), nil
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
