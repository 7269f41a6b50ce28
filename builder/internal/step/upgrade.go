// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Upgrade adds suites to apt's sources, beside the one that debootstrap wrote there, and installs what they have newer
// versions of. Their package lists are files of Context.Lists, whose signatures were checked: apt asks no mirror for
// them.
type Upgrade struct {
	base
	Suites []AptSuite
}

// AptSuite is a suite in a known state.
type AptSuite struct {
	AptSource
	// InRelease is the digest of its InRelease file.
	InRelease string
	// Added says that it is of a repository beside the mirror, and no pocket of it. If that is a directory of the host,
	// it is not in the image.
	Added bool `json:",omitempty"`
	// Keys are files with the keys that may sign it; none if apt has them. KeyDigests are their digests.
	Keys       []string `json:"-"`
	KeyDigests []string `json:",omitempty"`
}

// addedSources is the file of the sources of repositories beside the mirror that the image has.
const addedSources = "/etc/apt/sources.list.d/repositories.list"

func (Upgrade) Kind() string { return "apt.upgrade" }

func (Upgrade) Kept() bool { return true }

func (Upgrade) LayerTitle(string) string { return "updates" }

func (Upgrade) Installs() bool { return true }

func (u Upgrade) Title() string {
	names := make([]string, len(u.Suites))
	for i, s := range u.Suites {
		names[i] = s.Suite
		if s.Added {
			names[i] = s.URI.String() + " " + s.Suite
		}
	}
	return "upgrade from " + strings.Join(names, " and ")
}

func (u Upgrade) Run(ctx context.Context, s *Context) error {
	pockets, err := s.Target.ReadFile(sourcesList)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	texts := map[string][]byte{sourcesList: pockets}
	for i, suite := range u.Suites {
		name, options := sourcesList, ""
		if _, local := suite.URI.Local(); suite.Added && local {
			// It was verified, with keys that the image does not need.
			name, options = localSources, "[trusted=yes] "
		} else if suite.Added {
			name = addedSources
			if options, err = suite.writeKeys(s.Target); err != nil {
				return err
			}
		}
		texts[name] = fmt.Appendf(texts[name], "deb %s%s %s %s\n", options, quoteURL(suite.URI.Reveal()), suite.Suite,
			strings.Join(suite.Components, " "))
		dist := filepath.Join(s.Lists, strconv.Itoa(i), "dists", filepath.FromSlash(suite.Suite))
		if err := copyLists(s.Target, dist, suite.URI.Reveal()+"/dists/"+suite.Suite+"/"); err != nil {
			return fmt.Errorf("give apt the package lists of %s: %w", suite.Suite, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := target.WriteFileIn(s.Target, name, string(texts[name]), 0o644); err != nil {
			return err
		}
	}
	return aptGet(ctx, s, nil, "dist-upgrade", recommendsOption(false))
}

// writeKeys writes the keys of a suite where apt finds them, under a name made of their digests, and returns the option
// of sources.list(5) that names the file. The binary form is the one that every apt reads.
func (a AptSuite) writeKeys(f target.Files) (option string, err error) {
	if len(a.Keys) == 0 {
		return "", nil
	}
	var keyring bytes.Buffer
	for _, name := range a.Keys {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		keys, err := archive.ReadKeyring(bytes.NewReader(data))
		if err != nil {
			return "", err
		}
		for _, key := range keys {
			if err := key.Serialize(&keyring); err != nil {
				return "", fmt.Errorf("write key %016X: %w", key.PrimaryKey.KeyId, err)
			}
		}
	}
	name := fmt.Sprintf("/etc/apt/keyrings/repository-%x.gpg", sha256.Sum256(keyring.Bytes()))
	if err := target.WriteFileIn(f, name, keyring.String(), 0o644); err != nil {
		return "", err
	}
	return "[signed-by=" + name + "] ", nil
}

// AptPreferences writes the user's preferences for versions of packages, see apt_preferences(5).
type AptPreferences struct {
	base
	// File is a copy of the user's file, Digest that of its content.
	File   string `json:"-"`
	Digest string
}

func (AptPreferences) Kind() string { return "apt.preferences" }

func (AptPreferences) Title() string { return "write apt's preferences" }

func (p AptPreferences) Run(_ context.Context, s *Context) error {
	text, err := os.ReadFile(p.File)
	if err != nil {
		return err
	}
	return target.WriteFileIn(s.Target, "/etc/apt/preferences.d/preferences", string(text), 0o644)
}

// Architectures lets apt and dpkg install packages of further architectures, see dpkg(1).
type Architectures struct {
	base
	// Mirror and Suite are what debootstrap was given.
	Mirror secret.URL
	Suite  string
	Arches []string
}

// MainLists is the directory in Context.Lists with the files of the suite that debootstrap was given.
const MainLists = "main"

func (Architectures) Kind() string { return "dpkg.architectures" }

func (a Architectures) Title() string { return "add the architecture " + strings.Join(a.Arches, " ") }

func (a Architectures) Run(ctx context.Context, s *Context) error {
	for _, arch := range a.Arches {
		if err := s.inTarget(ctx, "dpkg", "--add-architecture", arch); err != nil {
			return err
		}
	}
	dist := filepath.Join(s.Lists, MainLists, "dists", filepath.FromSlash(a.Suite))
	return copyLists(s.Target, dist, a.Mirror.Reveal()+"/dists/"+a.Suite+"/")
}

// copyLists copies the files of a suite's directory dist of the host to apt's directory of lists, under the names by
// which apt looks for those of url.
func copyLists(f target.Files, dist, url string) error {
	return filepath.WalkDir(dist, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dist, name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return target.WriteFileIn(f, listsDir+"/"+aptListName(url+filepath.ToSlash(rel)), string(data), 0o644)
	})
}
