// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ClosureOptions say what belongs to a closure besides what was wanted and its Pre-Depends and Depends.
type ClosureOptions struct {
	// Essential adds all Essential packages, on which the others may rely without saying so.
	Essential bool
	// Recommends follows that field too, as apt does by default. One that cannot be had is left out.
	Recommends bool
}

// UnresolvedError tells which packages an archive cannot give.
type UnresolvedError struct {
	Missing []Missing // in the order of Relation
}

// Missing is one dependency for which an archive has no package.
type Missing struct {
	// Relation is what was asked for: "foo" or "foo (>= 2) | bar".
	Relation string
	// WantedBy names the packages that depend on it, in order; empty if it was asked for by the caller.
	WantedBy []string
	// Present is the version that the archive has, if it is just not one that will do.
	Present string
	// Near are names in the archive that look alike, the most alike first.
	Near []string
}

func (e *UnresolvedError) Error() string {
	lines := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		s := fmt.Sprintf("no package %q", m.Relation)
		if m.Present != "" {
			s += fmt.Sprintf(" (the archive has version %s)", m.Present)
		}
		if len(m.WantedBy) > 0 {
			s += ", which is wanted by " + strings.Join(m.WantedBy, ", ")
		}
		if len(m.Near) > 0 {
			s += "; similar: " + strings.Join(m.Near, ", ")
		}
		lines[i] = s
	}
	return strings.Join(lines, "\n")
}

// Closure lists, by name, the packages that have to be there for the wanted ones to work. want holds names or whole
// dependencies ("linux-image-amd64", "exim4 | postfix (>= 3)").
//
// Of several alternatives, one that is in the closure anyhow is enough; else the first one that the archive has is
// taken. A virtual package is provided by the package with the most important Priority, then the first by name.
// If something cannot be had, the error is an *UnresolvedError that names all of it. The choice is by what the
// archive has, not by whether all further dependencies can be met.
func (x *Index) Closure(want []string, opts ClosureOptions) ([]*Package, error) {
	c := closure{index: x, opts: opts, chosen: map[string]*Package{}, provided: map[string][]provider{},
		missing: map[string]*Missing{}}
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
	index    *Index
	opts     ClosureOptions
	chosen   map[string]*Package
	provided map[string][]provider // by the chosen ones
	queue    []*Package            // chosen, with dependencies yet to be looked at
	choices  []Dependency          // those that leave a choice, put off until nothing else is left to do
	missing  map[string]*Missing
}

// run works the queue off. Dependencies without a choice go first, as they may settle what others leave open:
// that makes the result smaller, and independent of the order in which packages come up.
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
			if field.optional && !c.opts.Recommends {
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

// need takes up one dependency of by, which is nil for the caller's wishes.
func (c *closure) need(by *Package, d Dependency, optional bool) {
	if by != nil {
		d = slices.DeleteFunc(slices.Clone(d), func(r Relation) bool { return !r.Applies(by.Architecture) })
		if len(d) == 0 {
			return
		}
	}
	// Who asks for a package by its name gets it, and not another that provides the name.
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

func (c *closure) choose(p *Package) {
	if c.chosen[p.Name] != nil {
		return
	}
	c.chosen[p.Name] = p
	c.queue = append(c.queue, p)
	if err := p.addProvides(c.provided); err != nil {
		panic("BUG: " + err.Error()) // NewIndex has read it
	}
}

// satisfied tells whether what has been chosen is enough.
func (c *closure) satisfied(d Dependency) bool {
	return slices.ContainsFunc(d, func(r Relation) bool {
		if p := c.chosen[r.Name]; p != nil && r.Allows(p.Version) {
			return true
		}
		return slices.ContainsFunc(c.provided[r.Name], r.allowsProvider)
	})
}

// candidates lists the packages that satisfy the dependency, the best first: by alternatives, and for each of
// these a real package before those that provide it. Only the highest version of a package counts.
func (c *closure) candidates(d Dependency) []*Package {
	var all []*Package
	for _, r := range d {
		if p := c.index.Lookup(r.Name); p != nil && r.Allows(p.Version) {
			all = append(all, p)
			continue
		}
		var virtual []*Package
		for _, v := range c.index.providers[r.Name] {
			if r.allowsProvider(v) {
				virtual = append(virtual, v.pkg)
			}
		}
		slices.SortStableFunc(virtual, func(a, b *Package) int {
			return cmp.Compare(priorityRank(a.Priority), priorityRank(b.Priority))
		})
		all = append(all, virtual...)
	}
	return all
}

// allowsProvider tells whether a Provides entry satisfies the relation: one without a version satisfies only a
// relation without one (Debian policy 7.5).
func (r Relation) allowsProvider(v provider) bool {
	return r.Operator == "" || v.version != "" && r.Allows(v.version)
}

func priorityRank(priority string) int {
	ranks := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(ranks, priority); i >= 0 {
		return i
	}
	return len(ranks)
}

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
			m.Near = c.index.near(d[0].Name)
		}
	}
	if by != nil && !slices.Contains(m.WantedBy, by.Name) {
		m.WantedBy = append(m.WantedBy, by.Name)
	}
}

func (c *closure) unresolved() error {
	e := &UnresolvedError{}
	for _, m := range c.missing {
		slices.Sort(m.WantedBy)
		e.Missing = append(e.Missing, *m)
	}
	slices.SortFunc(e.Missing, func(a, b Missing) int { return strings.Compare(a.Relation, b.Relation) })
	return e
}
