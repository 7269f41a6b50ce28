// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
)

// chosen is what apt chose when it installed packages for an earlier build. An estimate knows no better where several
// packages provide what another one recommends. Nothing depends on it but what is downloaded and decompressed before
// apt asks for it, and whether an initramfs that was made early is of use.
type chosen struct {
	cache *archive.Cache
	// key is the digest of the request.
	key string
	// packages are those that are expected now.
	packages []*archive.Package
}

// chosenBefore returns the packages that a build installs, by an estimate of the same request of an earlier build and,
// if apt had chosen others then, with those.
func chosenBefore(ctx context.Context, cache *archive.Cache, spec Spec, index *archive.Index,
	estimated []*archive.Package) chosen {
	texts := []string{spec.Codename(), spec.Options().Arch, strconv.FormatBool(spec.Options().Recommends)}
	texts = append(texts, relations(spec.Packages(), spec.Options().Arch)...)
	c := chosen{cache: cache, key: string(snapshot.HashOf(append(texts, sortedNames(estimated)...)...)),
		packages: estimated}
	digest := cache.Derived(archive.ChosenKind, c.key)
	if digest == "" {
		return c
	}
	if ok, err := cache.Verify(ctx, digest); err != nil || !ok {
		return c
	}
	text, err := os.ReadFile(cache.Path(digest))
	if err != nil {
		return c
	}
	c.packages = nil
	for _, name := range strings.Fields(string(text)) {
		if p := index.Lookup(name); p != nil {
			c.packages = append(c.packages, p)
		}
	}
	return c
}

// keep keeps what apt has chosen, if that is not what was expected.
func (c chosen) keep(ctx context.Context, target fileReader) error {
	installed, err := readDpkgStatus(target)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, p := range installed {
		names[p.Get("Package")] = true
	}
	now := slices.Sorted(maps.Keys(names))
	if slices.Equal(now, sortedNames(c.packages)) {
		return nil
	}
	_, err = c.cache.AddDerived(ctx, archive.ChosenKind, c.key, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(now, "\n")+"\n")
		return err
	})
	return err
}

// sortedNames returns the names of packages.
func sortedNames(packages []*archive.Package) []string {
	names := make([]string, len(packages))
	for i, p := range packages {
		names[i] = p.Name
	}
	slices.Sort(names)
	return names
}
