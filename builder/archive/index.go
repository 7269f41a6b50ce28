// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
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
	packages  []*Package // by name, then from the highest version to the lowest
	providers providers  // all versions
}

// NewIndex returns an index of packages. Of several with the same name, version and architecture, the first counts.
func NewIndex(packages ...*Package) (*Index, error) {
	x := &Index{providers: newProviders(len(packages))}
	invalid := map[*Package]error{}
	var group sync.WaitGroup
	group.Go(func() { // takes about as long as to sort them
		for _, p := range packages {
			if err := x.providers.add(p); err != nil {
				invalid[p] = err
			}
		}
	})
	x.packages = slices.CompactFunc(sortPackages(packages), func(a, b *Package) bool {
		return a.Name == b.Name && a.Version == b.Version && a.Architecture == b.Architecture
	})
	group.Wait()
	if len(invalid) > 0 {
		for p := range x.newest() {
			if err := invalid[p]; err != nil {
				return nil, err
			}
		}
	}
	return x, nil
}

// sortPackages returns the packages in the order of an Index. Those of the same name and version stay in their order.
func sortPackages(packages []*Package) []*Package {
	// Keys that have the names take half the time of pointers to packages: a comparison reads less memory. Debian's
	// indexes are sorted by source package.
	type key struct {
		name     string
		position int
	}
	keys := make([]key, len(packages))
	for i, p := range packages {
		keys[i] = key{p.Name, i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		p, q := packages[a.position], packages[b.position]
		if p.Version != q.Version {
			if c := CompareVersions(q.Version, p.Version); c != 0 {
				return c
			}
		}
		return a.position - b.position
	})
	sorted := make([]*Package, len(packages))
	for i, k := range keys {
		sorted[i] = packages[k.position]
	}
	return sorted
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

// providersOf returns the packages that provide what a relation asks for, by name. Only their highest versions count.
func (x *Index) providersOf(r Relation) []*Package {
	packages := slices.DeleteFunc(x.providers.of(r), func(p *Package) bool { return x.Lookup(p.Name) != p })
	slices.SortFunc(packages, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(packages)
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
