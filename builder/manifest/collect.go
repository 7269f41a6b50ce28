// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/dpkgdb"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Collect reads the packages and the files without one from a root file system. Digest and origin of packages are the
// caller's to add: dpkg does not record them. Packages of which only the configuration is left are not listed.
func Collect(ctx context.Context, tree diskimage.Tree) ([]Package, []File, error) {
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		return nil, nil, err
	}
	database, err := dpkgdb.Read(index)
	if err != nil {
		return nil, nil, fmt.Errorf("list packages: %w", err)
	}
	c := collector{ctx: ctx, index: index, database: database}
	packages, err := c.packages()
	if err != nil {
		return nil, nil, fmt.Errorf("list packages: %w", err)
	}
	unowned, err := c.unowned()
	if err != nil {
		return nil, nil, fmt.Errorf("list the files of no package: %w", err)
	}
	return packages, unowned, nil
}

// collector reads one root file system.
type collector struct {
	ctx      context.Context
	index    diskimage.Index
	database *dpkgdb.Database
}

func (c collector) packages() ([]Package, error) {
	packages := []Package{}
	for _, s := range c.database.Packages {
		p := Package{Name: s.Name, Version: s.Version, Architecture: s.Architecture,
			Maintainer: s.Get("Maintainer"), Homepage: s.Get("Homepage")}
		p.Source, p.SourceVersion = s.Source()
		var err error
		if p.License, err = c.license(p.Name); err != nil {
			return nil, fmt.Errorf("licence of %s: %w", p.Name, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// license finds the copyright file of a package (Debian policy, 12.5).
func (c collector) license(name string) (*License, error) {
	e, err := c.index.File("usr/share/doc/" + name + "/copyright")
	if err != nil {
		return nil, nil // the documentation of a small system is often left out
	}
	digest, err := c.digest(e)
	return &License{File: "/" + printable(e.Name), SHA256: digest}, err
}

// digest returns the SHA-256 digest of a regular file.
func (c collector) digest(e diskimage.Entry) (digest string, err error) {
	h := sha256.New()
	if e.Open != nil {
		content, err := e.Open()
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, content.Close()) }()
		r := diskimage.CancelReaderAt(c.ctx, content)
		if n, err := io.Copy(h, io.NewSectionReader(r, 0, e.Size)); err != nil || n != e.Size {
			return "", fmt.Errorf("read %s: %w", e.Name, cmp.Or(err, io.ErrUnexpectedEOF))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// unowned returns the files that no package has.
func (c collector) unowned() ([]File, error) {
	owners, err := c.database.Owners()
	if err != nil {
		return nil, err
	}
	files := []File{}
	names := make([]string, 0, len(c.index))
	for name := range c.index {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e := c.index[name]
		if _, owned := owners[name]; e.IsDir() || owned || path.Dir(name) == dpkgdb.InfoDir {
			continue
		}
		f := File{Name: "/" + printable(name), Type: kind(e.Mode), Mode: fmt.Sprintf("%04o", e.Mode&0o7777), UID: e.UID,
			GID: e.GID, Size: e.Size, Target: printable(e.Linkname)}
		if e.IsRegular() {
			if e.HardLink != "" {
				e = c.index[e.HardLink]
			}
			if f.SHA256, err = c.digest(e); err != nil {
				return nil, err
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// kind is the type of a file.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFLNK:
		return "link"
	case unix.S_IFCHR:
		return "character"
	case unix.S_IFBLK:
		return "block"
	case unix.S_IFIFO:
		return "pipe"
	default:
		return "socket"
	}
}

// printable makes UTF-8, and thereby JSON, of any bytes.
func printable(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for i, r := range name {
		if r == utf8.RuneError && !strings.HasPrefix(name[i:], string(utf8.RuneError)) {
			fmt.Fprintf(&b, `\x%02x`, name[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
