// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ClosureOptions says what a closure includes besides the wanted packages and their Pre-Depends and Depends.
type ClosureOptions struct {
	// Essential adds all Essential packages, on which others may rely without declaring it.
	Essential bool
	// Recommends follows that field too, as apt does by default. Recommended packages that are missing are left out.
	Recommends bool
	// Installed are in the closure, but what they recommend is not: they were installed without.
	Installed []*Package
}

// UnresolvedError lists the packages that an archive lacks.
type UnresolvedError struct {
	Missing []Missing // in the order of Relation
}

// Missing is one dependency for which an archive has no package.
type Missing struct {
	// Relation is the dependency: "foo" or "foo (>= 2) | bar".
	Relation string
	// WantedBy names the packages that depend on it, sorted; empty if the caller asked for it.
	WantedBy []string
	// Present is the version in the archive if the package exists but its version does not satisfy Relation.
	Present string
	// Similar are names in the archive that look alike, the most alike first.
	Similar []string
}

func (e *UnresolvedError) Error() string {
	lines := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		s := fmt.Sprintf("no package %q", m.Relation)
		if m.Present != "" {
			s += fmt.Sprintf(" (the archive has version %s)", m.Present)
		}
		if len(m.WantedBy) > 0 {
			s += ", wanted by " + strings.Join(m.WantedBy, ", ")
		}
		if len(m.Similar) > 0 {
			s += "; similar: " + strings.Join(m.Similar, ", ")
		}
		lines[i] = s
	}
	return strings.Join(lines, "\n")
}

// Closure returns the packages that the wanted ones need, themselves included, sorted by name. want holds
// names or whole dependencies ("linux-image-amd64", "exim4 | postfix (>= 3)").
//
// Of several alternatives, one that is in the closure already is enough; otherwise the first one in the archive is
// chosen. A virtual package is provided by the package with the most important Priority, then the first by name.
// If something is missing, the error is an *UnresolvedError that names all of it. Closure does not backtrack: it may
// choose an alternative whose own dependencies are missing.
func (x *Index) Closure(want []string, opts ClosureOptions) ([]*Package, error) {
	c := closure{index: x, opts: opts, installed: map[*Package]bool{}, chosen: map[string]*Package{},
		provided: newProviders(0), missing: map[string]*Missing{}}
	for _, p := range opts.Installed {
		c.installed[p] = true
		c.choose(p)
	}
	if opts.Essential {
		for _, name := range x.Names() {
			c.choose(x.Lookup(name))
		}
	}
	for _, w := range want {
		dependencies, err := ParseDependencies(w)
		if err != nil {
			return nil, fmt.Errorf("wanted package: %w", err)
		}
		for _, d := range dependencies {
			c.need(nil, d, false)
		}
	}
	if err := c.run(); err != nil {
		return nil, err
	}
	if len(c.missing) > 0 {
		return nil, c.unresolved()
	}
	result := make([]*Package, 0, len(c.chosen))
	for _, p := range c.chosen {
		result = append(result, p)
	}
	slices.SortFunc(result, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return result, nil
}

// closure is the state of one search.
type closure struct {
	index     *Index
	opts      ClosureOptions
	installed map[*Package]bool // those of opts
	chosen    map[string]*Package
	provided  providers    // the chosen packages
	queue     []*Package   // chosen, dependencies not yet followed
	choices   []Dependency // dependencies with several candidates, decided when the queue is empty
	missing   map[string]*Missing
}

// run processes the queue. Dependencies with one candidate go first, as they may satisfy others that have several:
// that makes the result smaller, and independent of the order in which packages are found.
func (c *closure) run() error {
	for len(c.queue) > 0 || len(c.choices) > 0 {
		if len(c.queue) == 0 {
			next := c.choices[0]
			c.choices = c.choices[1:]
			if !c.satisfied(next) {
				c.choose(c.candidates(next)[0])
			}
			continue
		}
		p := c.queue[0]
		c.queue = c.queue[1:]
		for _, field := range []struct {
			name, value string
			optional    bool
		}{{"Pre-Depends", p.PreDepends, false}, {"Depends", p.Depends, false}, {"Recommends", p.Recommends, true}} {
			if field.optional && (!c.opts.Recommends || c.installed[p]) {
				continue
			}
			dependencies, err := ParseDependencies(field.value)
			if err != nil {
				return fmt.Errorf("package %s: %s: %w", p.Name, field.name, err)
			}
			for _, d := range dependencies {
				c.need(p, d, field.optional)
			}
		}
	}
	return nil
}

// need processes one dependency of the package by, which is nil for what the caller wants.
func (c *closure) need(by *Package, d Dependency, optional bool) {
	if by != nil {
		d = slices.DeleteFunc(slices.Clone(d), func(r Relation) bool { return !r.Applies(by.Architecture) })
		if len(d) == 0 {
			return
		}
	}
	// A caller that names a package gets that one, and not another that provides the name.
	byName := by == nil && c.index.Lookup(d[0].Name) != nil
	if !byName && c.satisfied(d) {
		return
	}
	switch candidates := c.candidates(d); {
	case len(candidates) == 1 || len(candidates) > 1 && by == nil:
		c.choose(candidates[0])
	case len(candidates) > 1:
		c.choices = append(c.choices, d)
	case !optional:
		c.miss(by, d)
	}
}

// choose adds a package to the closure.
func (c *closure) choose(p *Package) {
	if c.chosen[p.Name] != nil {
		return
	}
	c.chosen[p.Name] = p
	c.queue = append(c.queue, p)
	if err := c.provided.add(p); err != nil {
		panic("BUG: " + err.Error()) // NewIndex has parsed it
	}
}

// satisfied reports whether a chosen package satisfies the dependency.
func (c *closure) satisfied(d Dependency) bool {
	return slices.ContainsFunc(d, func(r Relation) bool {
		if p := c.chosen[r.Name]; p != nil && r.Allows(p.Version) {
			return true
		}
		return len(c.provided.of(r)) > 0
	})
}

// candidates returns the packages that satisfy the dependency, the best first: in the order of its
// alternatives, and for each of these a real package before those that provide it. Only the highest version
// of a package counts.
func (c *closure) candidates(d Dependency) []*Package {
	var all []*Package
	for _, r := range d {
		if p := c.index.Lookup(r.Name); p != nil && r.Allows(p.Version) {
			all = append(all, p)
			continue
		}
		virtual := c.index.providersOf(r)
		slices.SortStableFunc(virtual, func(a, b *Package) int {
			return cmp.Compare(priorityRank(a.Priority), priorityRank(b.Priority))
		})
		all = append(all, virtual...)
	}
	return all
}

// priorityRank returns the place of a priority in the order of importance, 0 being the most important.
func priorityRank(priority string) int {
	ranks := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(ranks, priority); i >= 0 {
		return i
	}
	return len(ranks)
}

// miss records a dependency of by that no package satisfies.
func (c *closure) miss(by *Package, d Dependency) {
	key := d.String()
	m := c.missing[key]
	if m == nil {
		m = &Missing{Relation: key}
		for _, r := range d {
			if p := c.index.Lookup(r.Name); p != nil {
				m.Present = p.Version
			}
		}
		c.missing[key] = m
		if m.Present == "" {
			m.Similar = c.index.similar(d[0].Name)
		}
	}
	if by != nil && !slices.Contains(m.WantedBy, by.Name) {
		m.WantedBy = append(m.WantedBy, by.Name)
	}
}

// unresolved returns the missing dependencies as an error.
func (c *closure) unresolved() error {
	e := &UnresolvedError{}
	for _, m := range c.missing {
		slices.Sort(m.WantedBy)
		e.Missing = append(e.Missing, *m)
	}
	slices.SortFunc(e.Missing, func(a, b Missing) int { return strings.Compare(a.Relation, b.Relation) })
	return e
}
