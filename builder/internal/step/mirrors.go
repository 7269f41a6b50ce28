// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Mirrors puts the mirrors of the finished system into apt's sources, in the place of those that the build has used.
type Mirrors struct {
	base
	Replacements []MirrorReplacement
}

// MirrorReplacement is a mirror of the build, and the one that replaces it.
type MirrorReplacement struct{ From, To secret.URL }

func (Mirrors) Kind() string { return "apt.mirrors" }

func (m Mirrors) Title() string {
	var names []string
	for _, r := range m.Replacements {
		names = append(names, r.To.String())
	}
	return "write apt's mirrors: " + strings.Join(names, " and ")
}

func (m Mirrors) Run(_ context.Context, at *Context) error {
	const parts = "/etc/apt/sources.list.d"
	names := []string{sourcesList}
	entries, err := at.Target.ReadDir(parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, path.Join(parts, e.Name()))
		}
	}
	for _, name := range names {
		if err := m.replace(at.Target, name); err != nil {
			return err
		}
	}
	return nil
}

// replace changes one file; a missing one, or a link, stays as it is.
func (m Mirrors) replace(f target.Files, name string) error {
	info, err := f.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := f.ReadFile(name)
	if err != nil {
		return err
	}
	after := before
	for _, r := range m.Replacements {
		// In a line of sources.list, percent signs are encoded.
		for _, quote := range []func(string) string{quoteURL, func(url string) string { return url }} {
			after = bytes.ReplaceAll(after, []byte(quote(r.From.Reveal())), []byte(quote(r.To.Reveal())))
		}
	}
	if bytes.Equal(before, after) {
		return nil
	}
	return f.WriteFile(name, after, info.Mode().Perm())
}
