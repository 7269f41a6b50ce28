// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// Package is one binary package as an index or a .deb describes it. Dependency fields are kept as text, since most
// packages of an index never need them parsed; ParseDependencies does that.
type Package struct {
	Name         string
	Version      string
	Architecture string
	Priority     string // "required", "important", "standard", "optional", "extra"
	Section      string
	MultiArch    string
	PreDepends   string
	Depends      string
	Recommends   string
	Provides     string
	// Filename is the path of the .deb below the mirror.
	Filename string
	// SHA256 is the digest of the .deb, in hexadecimal.
	SHA256 string
	// Mirror is the URL that the index came from; "" for a package read from a file.
	Mirror string
	// Size is the size of the .deb, in bytes; InstalledSize that of its files in KiB, as its builder estimated.
	Size          int64
	InstalledSize int64
	Essential     bool
}

// File returns the name under which apt keeps the .deb: NAME_VERSION_ARCH.deb with the colon of an epoch as %3a.
func (p *Package) File() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Architecture + ".deb"
}

// Index is an immutable set of packages that can be searched by name. Its methods may be used by several goroutines at
// once.
type Index struct {
	packages  []*Package            // by name, then from the highest version to the lowest
	providers map[string][]provider // by the names they provide; only the highest version of each package
}

// provider is one entry of a Provides field.
type provider struct {
	pkg     *Package
	version string // "" if the field has none
}

// NewIndex returns an index of packages. Of several with the same name, version and architecture, the first counts.
func NewIndex(packages ...*Package) (*Index, error) {
	sorted := slices.Clone(packages)
	slices.SortStableFunc(sorted, func(a, b *Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 || a.Version == b.Version {
			return c
		}
		return CompareVersions(b.Version, a.Version)
	})
	x := &Index{providers: map[string][]provider{}, packages: slices.CompactFunc(sorted, func(a, b *Package) bool {
		return a.Name == b.Name && a.Version == b.Version && a.Architecture == b.Architecture
	})}
	for p := range x.newest() {
		if err := p.addProvides(x.providers); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Merge returns one index of several, in which Lookup and Closure see the highest version of each package. Of the
// same version in two indexes, that of the earlier index counts.
func Merge(indexes ...*Index) (*Index, error) {
	if len(indexes) == 1 {
		return indexes[0], nil
	}
	var all []*Package
	for _, x := range indexes {
		all = append(all, x.packages...)
	}
	return NewIndex(all...)
}

// ReadIndex reads a Packages file. mirror becomes the Mirror of each package, for Fetch.
func ReadIndex(r io.Reader, mirror string) (*Index, error) {
	reader := newPackageReader(mirror)
	if _, err := io.Copy(reader, r); err != nil {
		return nil, err
	}
	packages, err := reader.packages()
	if err != nil {
		return nil, err
	}
	return NewIndex(packages...)
}

// Len returns the number of packages, each version counted.
func (x *Index) Len() int { return len(x.packages) }

// All yields the packages by name, the highest version of each first.
func (x *Index) All() iter.Seq[*Package] { return slices.Values(x.packages) }

// Lookup returns the highest version of the package called name, or nil. Virtual names are not looked up.
func (x *Index) Lookup(name string) *Package {
	i, ok := slices.BinarySearchFunc(x.packages, name,
		func(p *Package, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return nil
	}
	return x.packages[i]
}

// newest yields the highest version of each package.
func (x *Index) newest() iter.Seq[*Package] {
	return func(yield func(*Package) bool) {
		for i, p := range x.packages {
			if (i == 0 || x.packages[i-1].Name != p.Name) && !yield(p) {
				return
			}
		}
	}
}

// addProvides adds what the package provides.
func (p *Package) addProvides(providers map[string][]provider) error {
	if p.Provides == "" {
		return nil
	}
	provided, err := ParseDependencies(p.Provides)
	if err != nil {
		return fmt.Errorf("package %s: Provides: %w", p.Name, err)
	}
	for _, d := range provided {
		for _, r := range d {
			providers[r.Name] = append(providers[r.Name], provider{p, r.Version})
		}
	}
	return nil
}

// Names returns the sorted names of the packages that are Essential or have one of the priorities: with "required",
// those that debootstrap's variant minbase installs, and with "required" and "important" those of its default. Either
// needs its Closure too.
func (x *Index) Names(priorities ...string) []string {
	var names []string
	for p := range x.newest() {
		if p.Essential || slices.Contains(priorities, p.Priority) {
			names = append(names, p.Name)
		}
	}
	return names
}
