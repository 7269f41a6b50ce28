package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
)

// aptSourcesStep writes where apt of the finished image gets its packages. The archive is not asked whether it is there:
// it may be one that only the image will reach.
type aptSourcesStep struct {
	base
	Entries []aptSource
	// Deb822 writes a .sources file, as releases do that prefer them, instead of a .list file.
	Deb822 bool
	// Keyring is the file that a .sources file names for the archive's keys.
	Keyring string
}

// aptSource is one archive: what stands behind "deb" in sources.list(5).
type aptSource struct {
	URI        URL
	Suite      string
	Components []string
}

// debianSecurity is the archive of security updates, which mirrors of the main archive do not have.
var debianSecurity = NewURL("http://security.debian.org/debian-security")

// newAptSourcesStep follows --configure-apt and --apt-mirror. A released suite gets its updates as well.
func newAptSourcesStep(o Options, r debian.Release) aptSourcesStep {
	uri := o.AptMirror
	if uri.IsZero() {
		uri = o.Mirror
	}
	s := aptSourcesStep{Deb822: r.Deb822Sources(), Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"}
	add := func(uri URL, suite string) {
		s.Entries = append(s.Entries, aptSource{NewURL(strings.TrimRight(uri.Reveal(), "/")), suite, components(o, r)})
	}
	add(uri, o.Distribution)
	security := uri
	switch r.Vendor {
	case debian.Ubuntu:
		s.Keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
	case debian.Debian:
		security = debianSecurity
	}
	if r.Released == "" || r.SecuritySuite() == "" {
		return s
	}
	// stable-security exists as trixie-security does; the user's way to name the suite is kept.
	suffix := strings.TrimPrefix(r.SecuritySuite(), r.Codename)
	add(uri, o.Distribution+"-updates")
	add(security, o.Distribution+suffix)
	return s
}

func (aptSourcesStep) Kind() string { return "apt.sources" }

func (s aptSourcesStep) Title() string { return "write apt's sources: " + s.Entries[0].URI.String() }

func (s aptSourcesStep) run(_ context.Context, at *site) error {
	if err := at.target.Remove("/etc/apt/sources.list"); err != nil {
		return err
	}
	name, text := "base.list", s.list()
	if s.Deb822 {
		name, text = "base.sources", s.deb822()
	}
	return writeWithDir(at.target, "/etc/apt/sources.list.d", name, text)
}

// list is the one-line form. Sources of programs are there to be switched on, as they always were.
func (s aptSourcesStep) list() string {
	var b strings.Builder
	for _, e := range s.Entries {
		line := fmt.Sprintf("%s %s %s", e.URI.Reveal(), e.Suite, strings.Join(e.Components, " "))
		fmt.Fprintf(&b, "deb %s\n#deb-src %s\n", line, line)
	}
	return b.String()
}

// deb822 is the form of stanzas; suites of one archive share one.
func (s aptSourcesStep) deb822() string {
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

// inittabStep adds the serial console of --serial-console on releases whose init reads /etc/inittab.
type inittabStep struct {
	base
	Command string
}

func (inittabStep) Kind() string { return "inittab" }

func (inittabStep) Title() string { return "add the serial console to /etc/inittab" }

func (s inittabStep) run(_ context.Context, at *site) error {
	const name = "/etc/inittab"
	text, err := at.target.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return at.target.WriteFile(name, fmt.Appendf(text, "\nS0:23:respawn:%s\n", s.Command), 0o644)
}
