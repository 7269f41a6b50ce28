// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
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
	packages, err := readPackages(r, mirror)
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

// readPackagesText is readPackages for a text in memory, which all processors read.
func readPackagesText(text []byte, mirror string) ([]*Package, error) {
	parts := splitStanzas(text, runtime.GOMAXPROCS(0))
	read := make([][]*Package, len(parts))
	var group errgroup.Group
	for i, part := range parts {
		group.Go(func() error {
			return guard.Parse(func() (err error) {
				read[i], err = readPackages(bytes.NewReader(part), mirror)
				return err
			})
		})
	}
	if group.Wait() == nil {
		return slices.Concat(read...), nil
	}
	var packages []*Package
	err := guard.Parse(func() (err error) { // for the error with its line
		packages, err = readPackages(bytes.NewReader(text), mirror)
		return err
	})
	return packages, err
}

// splitStanzas splits a text between stanzas, into at most n parts of about the same size.
func splitStanzas(text []byte, n int) [][]byte {
	var parts [][]byte
	for ; n > 1 && len(text) > 0; n-- {
		end := len(text) / n
		stanza := bytes.Index(text[end:], []byte("\n\n"))
		if stanza < 0 {
			break
		}
		end += stanza + 1
		parts, text = append(parts, text[:end]), text[end:]
	}
	return append(parts, text)
}

// readPackages reads stanzas of packages. The strings of one package share one allocation, and strings that repeat from
// package to package are shared by all: 69000 packages take 30 MB instead of the 57 MB of the text.
func readPackages(r io.Reader, mirror string) ([]*Package, error) {
	d := newStanzaReader(r)
	var (
		packages []*Package
		block    []Package // allocated many at a time
		text     []byte    // the values of this package, to be made one string
		shared   = map[string]string{}
	)
	share := func(value []byte) string {
		s, ok := shared[string(value)]
		if !ok {
			s = string(value)
			shared[s] = s
		}
		return s
	}
	type part struct {
		field      *string
		start, end int
	}
	parts := make([]part, 0, 16)
	const blockSize = 1024
	for {
		if len(block) == 0 {
			block = make([]Package, blockSize)
		}
		p := &block[0]
		p.Mirror = mirror
		text, parts = text[:0], parts[:0]
		keep := func(field *string, value []byte) {
			start := len(text)
			text = append(text, value...)
			parts = append(parts, part{field, start, len(text)})
		}
		err := d.next(func(name, value []byte) error {
			var err error
			switch string(name) {
			case "Package":
				keep(&p.Name, value)
			case "Version":
				keep(&p.Version, value)
			case "Architecture":
				p.Architecture = share(value)
			case "Priority":
				p.Priority = share(value)
			case "Section":
				p.Section = share(value)
			case "Multi-Arch":
				p.MultiArch = share(value)
			case "Pre-Depends":
				keep(&p.PreDepends, value)
			case "Depends":
				keep(&p.Depends, value)
			case "Recommends":
				keep(&p.Recommends, value)
			case "Provides":
				keep(&p.Provides, value)
			case "Filename":
				keep(&p.Filename, value)
			case "SHA256":
				keep(&p.SHA256, value)
			case "Essential":
				p.Essential = string(value) == "yes"
			case "Size":
				p.Size, err = strconv.ParseInt(string(value), 10, 64)
			case "Installed-Size":
				p.InstalledSize, err = strconv.ParseInt(string(value), 10, 64)
			}
			if err != nil {
				return fmt.Errorf("%s: %q is not a number", name, clip(value))
			}
			return nil
		})
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, err
		}
		values := string(text)
		for _, s := range parts {
			*s.field = values[s.start:s.end]
		}
		if p.Name == "" || p.Version == "" {
			return nil, fmt.Errorf("line %d: a stanza without Package or Version", d.line)
		}
		p.SHA256, p.Filename = strings.ToLower(p.SHA256), strings.TrimPrefix(p.Filename, "./")
		if err := p.checkNames(); err != nil {
			return nil, fmt.Errorf("line %d: the stanza before it: %w", d.line, err)
		}
		packages = append(packages, p)
		block = block[1:]
	}
}
