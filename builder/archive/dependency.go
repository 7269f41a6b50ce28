// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"slices"
	"strings"
)

// Relation is one alternative of a dependency: a package name and its restrictions.
type Relation struct {
	Name string
	// Qualifier is what follows the name after a colon: "any", "native" or an architecture.
	Qualifier string
	// Operator is one of <<, <=, =, >=, >> and "", which stands for any version; Version is its right side.
	Operator, Version string
	// Architectures is the list in square brackets, with any "!"; nil if there is none.
	Architectures []string
	// Profiles are the lists in angle brackets: all terms ("!nocheck") of one list must hold.
	Profiles [][]string
}

// String returns the relation as in a control file.
func (r Relation) String() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if r.Qualifier != "" {
		b.WriteString(":" + r.Qualifier)
	}
	if r.Operator != "" {
		b.WriteString(" (" + r.Operator + " " + r.Version + ")")
	}
	if r.Architectures != nil {
		b.WriteString(" [" + strings.Join(r.Architectures, " ") + "]")
	}
	for _, list := range r.Profiles {
		b.WriteString(" <" + strings.Join(list, " ") + ">")
	}
	return b.String()
}

// Allows reports whether a version satisfies the relation, whatever the name.
func (r Relation) Allows(version string) bool {
	if r.Operator == "" {
		return true
	}
	c := CompareVersions(version, r.Version)
	switch r.Operator {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}

// Applies reports whether the relation applies on an architecture, with no build profile active. It knows the
// architecture wildcards of binary packages: "any", "linux-any" and "any-ARCH".
func (r Relation) Applies(arch string) bool {
	if len(r.Architectures) > 0 {
		negated := strings.HasPrefix(r.Architectures[0], "!")
		listed := slices.ContainsFunc(r.Architectures, func(a string) bool {
			a = strings.TrimPrefix(a, "!")
			return a == arch || a == "any" || a == "linux-any" || a == "any-"+arch
		})
		if listed == negated {
			return false
		}
	}
	if len(r.Profiles) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Profiles, func(list []string) bool {
		return !slices.ContainsFunc(list, func(term string) bool { return !strings.HasPrefix(term, "!") })
	})
}

// Dependency is a list of alternatives, of which one is enough.
type Dependency []Relation

// String returns the alternatives as in a control file.
func (d Dependency) String() string {
	parts := make([]string, len(d))
	for i, r := range d {
		parts[i] = r.String()
	}
	return strings.Join(parts, " | ")
}

// ParseDependencies parses the value of a field such as Depends: dependencies separated by commas. Empty ones, as after
// a trailing comma, are left out, as by dpkg.
func ParseDependencies(field string) ([]Dependency, error) {
	var all []Dependency
	err := parseRelations(field, func(r Relation, alternative bool) {
		if !alternative {
			all = append(all, nil)
		}
		d := &all[len(all)-1]
		*d = append(*d, r)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// parseRelations calls add for each relation of a field such as Depends. alternative reports whether it belongs to the
// dependency of the one before it.
func parseRelations(field string, add func(r Relation, alternative bool)) error {
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue
		}
		alternative := false
		for text := range strings.SplitSeq(group, "|") {
			r, err := parseRelation(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("dependency %q: %w", strings.TrimSpace(group), err)
			}
			add(r, alternative)
			alternative = true
		}
	}
	return nil
}

// parseRelation parses one alternative.
func parseRelation(text string) (Relation, error) {
	var r Relation
	end := 0
	for end < len(text) && !endsName(text[end]) {
		end++
	}
	name, rest := text[:end], strings.TrimSpace(text[end:])
	r.Name, r.Qualifier, _ = strings.Cut(name, ":")
	if !validName(r.Name) {
		return Relation{}, fmt.Errorf("%q is not a package name", r.Name)
	}
	for rest != "" {
		var body string
		var err error
		switch rest[0] {
		case '(':
			if body, rest, err = cutBracket(rest, ")"); err != nil {
				return Relation{}, err
			}
			if r.Operator != "" {
				return Relation{}, fmt.Errorf("more than one version")
			}
			if r.Operator, r.Version, err = parseConstraint(body); err != nil {
				return Relation{}, err
			}
		case '[':
			if body, rest, err = cutBracket(rest, "]"); err != nil {
				return Relation{}, err
			}
			r.Architectures = append(r.Architectures, strings.Fields(body)...)
		case '<':
			if body, rest, err = cutBracket(rest, ">"); err != nil {
				return Relation{}, err
			}
			r.Profiles = append(r.Profiles, strings.Fields(body))
		default:
			return Relation{}, fmt.Errorf("unexpected %q", rest)
		}
	}
	return r, nil
}

// endsName reports whether a character ends the name in a relation.
func endsName(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '(', '[', '<':
		return true
	}
	return false
}

// cutBracket splits "(body) rest" after the closing bracket.
func cutBracket(text, closing string) (body, rest string, err error) {
	body, rest, ok := strings.Cut(text[1:], closing)
	if !ok {
		return "", "", fmt.Errorf("%q lacks %q", text, closing)
	}
	return strings.TrimSpace(body), strings.TrimSpace(rest), nil
}

// parseConstraint parses the text in parentheses. The old operators < and > mean <= and >=, as for dpkg.
func parseConstraint(body string) (operator, version string, err error) {
	n := 0
	for n < len(body) && strings.IndexByte("<>=", body[n]) >= 0 {
		n++
	}
	operator, version = body[:n], strings.TrimSpace(body[n:])
	switch operator {
	case "<<", "<=", "=", ">=", ">>":
	case "<":
		operator = "<="
	case ">":
		operator = ">="
	default:
		return "", "", fmt.Errorf("%q is not a version constraint", body)
	}
	if version == "" || strings.ContainsAny(version, " \t\n") {
		return "", "", fmt.Errorf("%q is not a version constraint", body)
	}
	return operator, version, nil
}
