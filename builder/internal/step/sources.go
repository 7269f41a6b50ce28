// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// AptSources writes the sources of apt in the finished image. It does not access the archive, which may be
// reachable only from the image.
type AptSources struct {
	base
	Entries []AptSource
	// Deb822 writes a .sources file instead of a .list file, for releases that prefer them.
	Deb822 bool
	// Keyring is the file that a .sources file names for the archive's keys.
	Keyring string
}

// AptSource is one archive: the fields after "deb" in sources.list(5).
type AptSource struct {
	URI        secret.URL
	Suite      string
	Components []string
}

func (AptSources) Kind() string { return "apt.sources" }

// Changed implements Step.
func (AptSources) Changed(input string) string {
	if input == "" {
		return "the credentials of the mirror changed"
	}
	return ""
}

func (s AptSources) Title() string { return "write apt's sources: " + s.Entries[0].URI.String() }

func (s AptSources) Run(_ context.Context, at *Context) error {
	if err := at.Target.Remove(sourcesList); err != nil {
		return err
	}
	name, text := "base.list", s.list()
	if s.Deb822 {
		name, text = "base.sources", s.deb822()
	}
	return target.WriteFileIn(at.Target, "/etc/apt/sources.list.d/"+name, text, 0o644)
}

// list returns the one-line format. Source packages are listed as comments that users can enable.
func (s AptSources) list() string {
	var b strings.Builder
	for _, e := range s.Entries {
		line := fmt.Sprintf("%s %s %s", quoteURL(e.URI.Reveal()), e.Suite, strings.Join(e.Components, " "))
		fmt.Fprintf(&b, "deb %s\n#deb-src %s\n", line, line)
	}
	return b.String()
}

// deb822 returns the deb822 format. Suites of the same archive share a stanza.
func (s AptSources) deb822() string {
	var b strings.Builder
	for i := 0; i < len(s.Entries); {
		e := s.Entries[i]
		suites := []string{}
		for ; i < len(s.Entries) && s.Entries[i].URI == e.URI; i++ {
			suites = append(suites, s.Entries[i].Suite)
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n",
			e.URI.Reveal(), strings.Join(suites, " "), strings.Join(e.Components, " "), s.Keyring)
	}
	return b.String()
}

// Inittab adds the serial console of --serial-console on releases whose init reads /etc/inittab.
type Inittab struct {
	base
	Command string
}

func (Inittab) Kind() string { return "inittab" }

func (Inittab) Title() string { return "add the serial console to /etc/inittab" }

func (s Inittab) Run(_ context.Context, at *Context) error {
	const name = "/etc/inittab"
	text, err := at.Target.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return at.Target.WriteFile(name, fmt.Appendf(text, "\nS0:23:respawn:%s\n", s.Command), 0o644)
}
