// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Context is the directory whose files COPY, ADD and mounts see.
type Context struct {
	dir string
	// ignored has the patterns of the ignore file, whose name is ignore; nil if there is none.
	ignored *patternmatcher.PatternMatcher
	ignore  string
}

// OpenContext returns the directory of a Containerfile. The files that its ignore file lists are not part of it: that
// is FILE.containerignore or FILE.dockerignore beside the Containerfile FILE, else .containerignore or .dockerignore in
// the directory.
func OpenContext(dir, file string) (*Context, error) {
	c := &Context{dir: dir}
	for _, name := range []string{
		file + ".containerignore", file + ".dockerignore",
		filepath.Join(dir, ".containerignore"), filepath.Join(dir, ".dockerignore"),
	} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(f)
		if err == nil {
			c.ignored, err = patternmatcher.New(patterns)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.ignore = name
		break
	}
	return c, nil
}

// Match is a file or directory of a Context.
type Match struct {
	// Path is its path on the host, without symbolic links, and Name the last element of its path in the context.
	Path, Name string
	Dir        bool
	// Keep are the names below Path of what belongs to it, "." itself included.
	Keep map[string]bool
}

// Find returns what a pattern of COPY or ADD matches, in the order of the names, without what exclude lists. Links lead
// to where they lead in the context. The error wraps fs.ErrNotExist if there is nothing.
func (c *Context) Find(pattern string, exclude []string) ([]Match, error) {
	excluded, err := patternmatcher.New(exclude)
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	clean := strings.TrimPrefix(path.Join("/", filepath.ToSlash(pattern)), "/")
	names := []string{clean}
	switch {
	case clean == "":
		names = []string{"."}
	case strings.ContainsAny(clean, `*?[\`):
		if names, err = fs.Glob(os.DirFS(c.dir), clean); err != nil {
			return nil, fmt.Errorf("%q: %w", pattern, err)
		}
		slices.Sort(names)
	}
	var found []Match
	for _, name := range names {
		m, err := c.match(name, excluded)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.Keep["."] {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		why := ""
		if c.ignore != "" {
			why = ", as far as " + c.ignore + " does not ignore it"
		}
		return nil, fmt.Errorf("%s: %w in %s%s", pattern, fs.ErrNotExist, c.dir, why)
	}
	return found, nil
}

// match lists a file or directory, without what is ignored.
func (c *Context) match(name string, excluded *patternmatcher.PatternMatcher) (Match, error) {
	real, err := securejoin.SecureJoin(c.dir, name)
	if err != nil {
		return Match{}, err
	}
	m := Match{Path: real, Name: path.Base(name), Keep: map[string]bool{}}
	err = filepath.WalkDir(real, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(real, at)
		if err != nil {
			return err
		}
		inMatch := rel
		if rel == "." {
			m.Dir, inMatch = d.IsDir(), m.Name
		}
		ignored, err := c.ignores(path.Join(name, filepath.ToSlash(rel)))
		if err == nil && !ignored && (rel != "." || !d.IsDir()) {
			ignored, err = excluded.MatchesOrParentMatches(inMatch)
		}
		if err != nil || ignored {
			return err // what is in an ignored directory may be an exception
		}
		// A directory that is ignored itself is there for the exceptions in it.
		for m.Keep[rel] = true; rel != "."; m.Keep[rel] = true {
			rel = filepath.Dir(rel)
		}
		return nil
	})
	return m, err
}

// ignores reports whether the ignore file lists a name. The Containerfile itself can be listed.
func (c *Context) ignores(name string) (bool, error) {
	if c.ignored == nil || name == "." {
		return false, nil
	}
	return c.ignored.MatchesOrParentMatches(name)
}
