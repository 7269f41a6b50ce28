// SPDX-License-Identifier: Apache-2.0

// Package difference compares two systems: their disks, packages, configuration files and all other files, by names,
// metadata and contents. Nothing of either is run.
//
// Files are compared by type, mode, owner, size, content, target, device numbers and extended attributes. Times are
// not, because two builds of the same system differ in nearly all of them; neither are inode numbers, and which names
// are hard links of each other.
package difference

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/dpkgdb"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/treediff"
)

// Schema is the version of the JSON of a Report. It changes when a reader of the former one would misunderstand a
// report; new fields leave it alone.
const Schema = 1

// Side is one of the two systems.
type Side struct {
	Report inspect.Report
	Index  diskimage.Index
}

// Report is the difference of two systems, A and B. Its JSON is documented in contrib/doc/existing.md.
type Report struct {
	Schema int    `json:"schema"`
	A      string `json:"a"` // as the caller named it
	B      string `json:"b"`
	Same   bool   `json:"same"`
	// Facts are what inspect tells of disk and system, apart from files and packages.
	Facts    []Fact   `json:"facts"`
	Packages Packages `json:"packages"`
	// ConfigFiles are the configuration files of packages; Files are all others.
	ConfigFiles []File `json:"config_files"`
	Files       []File `json:"files"`
}

// Fact is a fact that differs; a side that lacks it is empty.
type Fact struct {
	Name string `json:"name"` // "partition 1", "boot loaders", "release"
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}

// Packages are the packages that differ, each list sorted by name.
type Packages struct {
	Added      []Package `json:"added"`
	Removed    []Package `json:"removed"`
	Upgraded   []Package `json:"upgraded"`
	Downgraded []Package `json:"downgraded"`
}

// Package is a package with its version on each side where it is installed.
type Package struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	A            string `json:"a,omitempty"`
	B            string `json:"b,omitempty"`
	// Changes are what the changelog of the newer one says since the older one, the newest first. They are there for
	// packages that were up- or downgraded, if the newer system has their documentation, or the cache their .deb.
	Changes []Change `json:"changes,omitempty"`
}

// Change is an entry of a changelog.
type Change struct {
	Version string   `json:"version"` // of the source package
	Lines   []string `json:"lines"`
}

// File is a name that differs; A is nil for one that was added, B for one that was removed.
type File struct {
	// Name begins with a slash. Bytes that are not UTF-8 are the replacement character in JSON.
	Name string `json:"name"`
	// Package owns the file, in B or else in A; empty for none.
	Package string `json:"package,omitempty"`
	// Changes are of "type", "mode", "owner", "size", "content", "target", "device", "attributes"; empty unless both
	// sides have the name.
	Changes []string  `json:"changes,omitempty"`
	A       *Metadata `json:"a,omitempty"`
	B       *Metadata `json:"b,omitempty"`
}

// Metadata is what a file is on one side.
type Metadata struct {
	Type   string `json:"type"` // file, directory, link, character, block, pipe, socket
	Mode   string `json:"mode"` // octal permissions: "0644"
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size,omitempty"`
	Target string `json:"target,omitempty"` // of a link
	Device string `json:"device,omitempty"` // major and minor number: "1:3"
}

// side is a Side with its database.
type side struct {
	Side
	packages []dpkgdb.Package
	owners   map[string]string
	config   map[string]bool
}

// CompareReports compares what inspect tells of two systems: disks, facts and packages, but no files.
func CompareReports(a, b inspect.Report) Report {
	r := Report{Schema: Schema, A: a.Source, B: b.Source, Facts: facts(a, b), ConfigFiles: []File{}, Files: []File{},
		Packages: comparePackages(packagesOf(a), packagesOf(b))}
	r.Same = r.same()
	return r
}

// Compare compares two systems. Changelogs that they lack are read from the .debs of a cache, unless that is nil.
func Compare(ctx context.Context, a, b Side, debs *archive.Cache) (Report, error) {
	r := CompareReports(a.Report, b.Report)
	left, err := newSide(a)
	if err != nil {
		return r, err
	}
	right, err := newSide(b)
	if err != nil {
		return r, err
	}
	if err := addChanges(ctx, r.Packages, left, right, debs); err != nil {
		return r, err
	}
	files, err := compareFiles(ctx, a.Index, b.Index)
	if err != nil {
		return r, err
	}
	for _, f := range files {
		name := strings.TrimPrefix(f.Name, "/")
		f.Package = cmp.Or(right.owners[name], left.owners[name])
		if left.config[name] || right.config[name] {
			r.ConfigFiles = append(r.ConfigFiles, f)
		} else {
			r.Files = append(r.Files, f)
		}
	}
	r.Same = r.same()
	return r, nil
}

func (r Report) same() bool {
	p := r.Packages
	return len(r.Facts)+len(r.ConfigFiles)+len(r.Files)+len(p.Added)+len(p.Removed)+len(p.Upgraded)+
		len(p.Downgraded) == 0
}

// packagesOf returns the packages of a system; none if it could not be read.
func packagesOf(r inspect.Report) []inspect.Package {
	if r.System == nil {
		return nil
	}
	return r.System.Packages
}

func newSide(s Side) (side, error) {
	database, err := dpkgdb.Read(s.Index)
	if err != nil {
		return side{}, fmt.Errorf("%s: %w", s.Report.Source, err)
	}
	owners, err := database.Owners()
	if err != nil {
		return side{}, fmt.Errorf("%s: list the files of packages: %w", s.Report.Source, err)
	}
	return side{s, database.Packages, owners, database.ConfigFiles()}, nil
}

// packageKey is what two versions of a package have in common.
type packageKey struct{ name, arch string }

// comparePackages sorts packages by what became of them.
func comparePackages(a, b []inspect.Package) Packages {
	versions := func(all []inspect.Package) map[packageKey]string {
		found := map[packageKey]string{}
		for _, p := range all {
			found[packageKey{p.Name, p.Architecture}] = p.Version
		}
		return found
	}
	left, right := versions(a), versions(b)
	result := Packages{[]Package{}, []Package{}, []Package{}, []Package{}}
	keys := maps.Clone(left)
	maps.Copy(keys, right)
	sorted := slices.SortedFunc(maps.Keys(keys), func(a, b packageKey) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.arch, b.arch))
	})
	for _, k := range sorted {
		p := Package{Name: k.name, Architecture: k.arch, A: left[k], B: right[k]}
		_, inA := left[k]
		_, inB := right[k]
		switch order := archive.CompareVersions(p.A, p.B); {
		case !inA:
			result.Added = append(result.Added, p)
		case !inB:
			result.Removed = append(result.Removed, p)
		case order < 0:
			result.Upgraded = append(result.Upgraded, p)
		case order > 0:
			result.Downgraded = append(result.Downgraded, p)
		}
	}
	return result
}

// compareFiles returns the names that differ, sorted. Contents are read last, of files that have the same size, several
// at a time.
func compareFiles(ctx context.Context, a, b diskimage.Index) ([]File, error) {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	sorted := slices.Sorted(maps.Keys(names))
	files := make([]*File, len(sorted))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range sorted {
		left, right := entryOf(a, name), entryOf(b, name)
		f := &File{Name: path.Join("/", name), A: metadata(left), B: metadata(right)}
		if left == nil || right == nil {
			files[i] = f
			continue
		}
		f.Changes = changes(*left, *right)
		if len(f.Changes) > 0 {
			files[i] = f
		}
		if !left.IsRegular() || !right.IsRegular() || left.Size != right.Size || left.Open == nil || right.Open == nil {
			continue
		}
		group.Go(func() error {
			same, err := treediff.SameContent(ctx, *left, *right)
			if err != nil {
				return fmt.Errorf("compare /%s: %w", name, err)
			}
			if !same {
				f.Changes = append(f.Changes, "content")
				files[i] = f
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var found []File
	for _, f := range files {
		if f != nil {
			found = append(found, *f)
		}
	}
	return found, nil
}

// entryOf returns the entry of a name, of a hard link with its content; nil if there is none.
func entryOf(index diskimage.Index, name string) *diskimage.Entry {
	e, ok := index[name]
	if !ok {
		return nil
	}
	if e.HardLink != "" {
		e = index[e.HardLink]
	}
	return &e
}

// changes compares metadata.
func changes(a, b diskimage.Entry) []string {
	if a.Mode&unix.S_IFMT != b.Mode&unix.S_IFMT {
		return []string{"type"}
	}
	var found []string
	add := func(differs bool, what string) {
		if differs {
			found = append(found, what)
		}
	}
	isLink := a.Mode&unix.S_IFMT == unix.S_IFLNK
	add(!isLink && a.Mode != b.Mode, "mode") // Linux ignores the mode of a link
	add(a.UID != b.UID || a.GID != b.GID, "owner")
	add(a.Size != b.Size, "size")
	add(a.Linkname != b.Linkname, "target")
	add(a.Major != b.Major || a.Minor != b.Minor, "device")
	add(!slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y diskimage.Xattr) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	}), "attributes")
	return found
}

// types are the names of types of files.
var types = map[uint32]string{
	unix.S_IFREG: "file", unix.S_IFDIR: "directory", unix.S_IFLNK: "link", unix.S_IFCHR: "character",
	unix.S_IFBLK: "block", unix.S_IFIFO: "pipe", unix.S_IFSOCK: "socket",
}

func metadata(e *diskimage.Entry) *Metadata {
	if e == nil {
		return nil
	}
	m := &Metadata{Type: types[e.Mode&unix.S_IFMT], Mode: fmt.Sprintf("%04o", e.Mode&0o7777), UID: e.UID, GID: e.GID,
		Size: e.Size, Target: e.Linkname}
	if kind := e.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		m.Device = fmt.Sprintf("%d:%d", e.Major, e.Minor)
	}
	return m
}
