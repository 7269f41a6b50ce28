// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// dpkg's database, see dpkg(1) and dpkg-divert(1).
const (
	statusFile     = "var/lib/dpkg/status"
	diversionsFile = "var/lib/dpkg/diversions"
	infoDir        = "var/lib/dpkg/info"
)

// Collect reads the packages and the files without one from a root file system. Digest and origin of packages are the
// caller's to add: dpkg does not record them. Packages of which only the configuration is left are not listed.
func Collect(ctx context.Context, tree diskimage.Tree) ([]Package, []File, error) {
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		return nil, nil, err
	}
	c := collector{ctx: ctx, index: index, dirs: map[string]string{}}
	packages, err := c.packages()
	if err != nil {
		return nil, nil, fmt.Errorf("list packages: %w", err)
	}
	unowned, err := c.unowned(packages)
	if err != nil {
		return nil, nil, fmt.Errorf("list the files of no package: %w", err)
	}
	return packages, unowned, nil
}

// collector reads one root file system.
type collector struct {
	ctx   context.Context
	index diskimage.Index
	// dirs has the names of directories when links are followed, by their names in dpkg's lists; empty for none.
	dirs map[string]string
}

// read returns the content of a file; nil if there is none.
func (c collector) read(name string) ([]byte, error) {
	data, err := c.index.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (c collector) packages() ([]Package, error) {
	text, err := c.read(statusFile)
	if err != nil {
		return nil, err
	}
	stanzas, err := archive.ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", statusFile, err)
	}
	packages := []Package{}
	for _, s := range stanzas {
		if !Installed(s) {
			continue
		}
		p := Package{Name: s.Get("Package"), Version: s.Get("Version"), Architecture: s.Get("Architecture"),
			Maintainer: s.Get("Maintainer"), Homepage: s.Get("Homepage")}
		p.Source, p.SourceVersion = source(s)
		if p.License, err = c.license(p.Name); err != nil {
			return nil, fmt.Errorf("licence of %s: %w", p.Name, err)
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	})
	return packages, nil
}

// Installed reports whether a stanza of dpkg's status file is that of a package whose files are there.
func Installed(s archive.Stanza) bool {
	status := strings.Fields(s.Get("Status"))
	return len(status) == 3 && status[2] != "config-files" && status[2] != "not-installed"
}

// source reads the field Source: NAME, NAME (VERSION), or nothing if both are those of the package.
func source(s archive.Stanza) (name, version string) {
	name, rest, _ := strings.Cut(s.Get("Source"), " ")
	version = strings.Trim(rest, "() ")
	return cmp.Or(name, s.Get("Package")), cmp.Or(version, s.Get("Version"))
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
func (c collector) unowned(packages []Package) ([]File, error) {
	owned, err := c.owned(packages)
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
		if e.IsDir() || owned[name] || path.Dir(name) == infoDir {
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

// owned returns the names in the tree of all files of packages. Names in dpkg's lists can lead through links, such as
// /bin of a system with a merged /usr.
func (c collector) owned(packages []Package) (map[string]bool, error) {
	owned := map[string]bool{}
	for _, p := range packages {
		for _, list := range []string{p.Name, p.Name + ":" + p.Architecture} {
			text, err := c.read(infoDir + "/" + list + ".list")
			if err != nil {
				return nil, err
			}
			for line := range bytes.Lines(text) {
				owned[c.resolve(strings.TrimSuffix(string(line), "\n"))] = true
			}
		}
	}
	// Three lines for each diversion: the name, the one to which another package's file was moved, whose it is.
	text, err := c.read(diversionsFile)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		if owned[c.resolve(lines[i])] {
			owned[c.resolve(lines[i+1])] = true
		}
	}
	return owned, nil
}

// resolve follows the links in the directory of a name.
func (c collector) resolve(name string) string {
	dir, base := path.Split(path.Clean("/" + name))
	resolved, ok := c.dirs[dir]
	if !ok {
		resolved = strings.Trim(dir, "/")
		if e, err := c.index.Follow(dir); err == nil {
			resolved = e.Name
		}
		c.dirs[dir] = resolved
	}
	return path.Join(resolved, base)
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
