// SPDX-License-Identifier: Apache-2.0

// Package dpkgdb reads dpkg's database in a root file system: which packages are installed, which files and
// configuration files they own. Nothing is run and nothing is locked.
//
// Sources: dpkg(1), dpkg-divert(1), deb-conffiles(5).
package dpkgdb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	statusFile     = "var/lib/dpkg/status"
	diversionsFile = "var/lib/dpkg/diversions"
	// InfoDir is dpkg's directory with the lists of files and the scripts of packages, which no package owns.
	InfoDir = "var/lib/dpkg/info"
)

// Package is an installed package, or one whose installation is not finished.
type Package struct {
	archive.Stanza
	Name, Version, Architecture string
}

// InstalledSize returns the size that the package declares, in bytes; 0 for none.
func (p Package) InstalledSize() diskimage.Size {
	kib, err := strconv.ParseUint(p.Get("Installed-Size"), 10, 40)
	if err != nil {
		return 0
	}
	return diskimage.Size(kib) * diskimage.KiB
}

// Source reads the field Source: NAME, NAME (VERSION), or nothing if both are those of the package.
func (p Package) Source() (name, version string) {
	name, rest, _ := strings.Cut(p.Get("Source"), " ")
	version = strings.Trim(rest, "() ")
	return cmp.Or(name, p.Name), cmp.Or(version, p.Version)
}

// Database is the database of one root file system.
type Database struct {
	Packages []Package // sorted by name and architecture
	index    diskimage.Index
	// dirs has the names of directories when links are followed, by their names in dpkg's lists; empty for none.
	dirs map[string]string
}

// Read reads the list of packages; it is empty for a system without dpkg. Packages of which only the configuration is
// left are not listed.
func Read(index diskimage.Index) (*Database, error) {
	d := &Database{index: index, dirs: map[string]string{}}
	text, err := d.read(statusFile)
	if err != nil {
		return nil, err
	}
	stanzas, err := archive.ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", statusFile, err)
	}
	for _, s := range stanzas {
		if !Installed(s) {
			continue
		}
		d.Packages = append(d.Packages,
			Package{s, s.Get("Package"), s.Get("Version"), s.Get("Architecture")})
	}
	slices.SortFunc(d.Packages, func(a, b Package) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return strings.Compare(a.Architecture, b.Architecture)
	})
	return d, nil
}

// Installed reports whether a stanza of dpkg's status file is that of a package whose files are there.
func Installed(s archive.Stanza) bool {
	status := strings.Fields(s.Get("Status"))
	return len(status) == 3 && status[2] != "config-files" && status[2] != "not-installed"
}

// read returns the content of a file; nil if there is none.
func (d *Database) read(name string) ([]byte, error) {
	data, err := d.index.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Owners returns the package of each file that one owns, by the file's name in the tree. Names in dpkg's lists can lead
// through links, such as /bin of a system with a merged /usr. Of a file with several owners, as a directory has, it is
// the first.
func (d *Database) Owners() (map[string]string, error) {
	owners := map[string]string{}
	for _, p := range d.Packages {
		for _, list := range []string{p.Name, p.Name + ":" + p.Architecture} {
			text, err := d.read(InfoDir + "/" + list + ".list")
			if err != nil {
				return nil, err
			}
			for line := range bytes.Lines(text) {
				name := d.resolve(strings.TrimSuffix(string(line), "\n"))
				if _, owned := owners[name]; !owned {
					owners[name] = p.Name
				}
			}
		}
	}
	// Three lines for each diversion: the name, the one to which another package's file was moved, whose it is.
	text, err := d.read(diversionsFile)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		if owner, owned := owners[d.resolve(lines[i])]; owned {
			owners[d.resolve(lines[i+1])] = owner
		}
	}
	return owners, nil
}

// ConfigFiles returns the names in the tree of the configuration files of all packages (conffiles).
func (d *Database) ConfigFiles() map[string]bool {
	names := map[string]bool{}
	for _, p := range d.Packages {
		for line := range strings.Lines(p.Get("Conffiles")) {
			// A line is NAME DIGEST and perhaps "obsolete"; names have no blanks.
			if name, _, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				names[d.resolve(name)] = true
			}
		}
	}
	return names
}

// resolve follows the links in the directory of a name.
func (d *Database) resolve(name string) string {
	dir, base := path.Split(path.Clean("/" + name))
	resolved, ok := d.dirs[dir]
	if !ok {
		resolved = strings.Trim(dir, "/")
		if e, err := d.index.Follow(dir); err == nil {
			resolved = e.Name
		}
		d.dirs[dir] = resolved
	}
	return path.Join(resolved, base)
}
