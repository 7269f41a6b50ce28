// SPDX-License-Identifier: Apache-2.0

package archive

import "fmt"

// providers are entries of Provides fields by the names that they provide. An index has 69000 of them, so those of one
// name are a list in one slice rather than a slice of their own.
type providers struct {
	last map[string]int // the place of the last entry of a name, from 1
	all  []provider
}

// provider is one entry of a Provides field.
type provider struct {
	pkg      *Package
	version  string // "" if the field has none
	previous int    // the place of the previous entry of the same name; 0 if there is none
}

// newProviders returns providers without an entry, and with room for some.
func newProviders(room int) providers {
	return providers{make(map[string]int, room), make([]provider, 0, room)}
}

// add adds what a package provides.
func (s *providers) add(p *Package) error {
	err := parseRelations(p.Provides, func(r Relation, _ bool) {
		s.all = append(s.all, provider{p, r.Version, s.last[r.Name]})
		s.last[r.Name] = len(s.all)
	})
	if err != nil {
		return fmt.Errorf("package %s: Provides: %w", p.Name, err)
	}
	return nil
}

// of returns the packages that provide what a relation asks for. An entry without a version satisfies only a relation
// without one (Debian policy 7.5).
func (s *providers) of(r Relation) []*Package {
	var packages []*Package
	for i := s.last[r.Name]; i > 0; {
		v := s.all[i-1]
		if r.Operator == "" || v.version != "" && r.Allows(v.version) {
			packages = append(packages, v.pkg)
		}
		i = v.previous
	}
	return packages
}
