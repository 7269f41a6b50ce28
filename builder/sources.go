package builder

import (
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

func newCustomPackagesStep(o Options, lock Lock) step.CustomPackages {
	c := step.CustomPackages{Digests: lock.CustomPackages, Recommends: o.Recommends}
	for _, name := range o.CustomPackages {
		c.Files = append(c.Files, lock.Copy(name))
		c.Names = append(c.Names, filepath.Base(name))
	}
	return c
}

// debianSecurity is the archive of security updates, which mirrors of the main archive do not have.
var debianSecurity = secret.NewURL("http://security.debian.org/debian-security")

// newAptSourcesStep follows --configure-apt and --apt-mirror. A released suite gets its updates as well.
func newAptSourcesStep(o Options, r debian.Release) step.AptSources {
	uri := o.AptMirror
	if uri.IsZero() {
		uri = o.Mirror
	}
	s := step.AptSources{Deb822: r.Deb822Sources(), Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"}
	add := func(uri secret.URL, suite string) {
		s.Entries = append(s.Entries, step.AptSource{URI: secret.NewURL(strings.TrimRight(uri.Reveal(), "/")), Suite: suite, Components: components(o, r)})
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
