// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"io/fs"
	"strings"
)

// Names and versions of an index become file names and parts of labels and messages, so they are checked against the
// grammar of Debian policy when they are read, whoever signed them. Where dpkg is more lenient than policy, so is this,
// since third-party archives rely on it: capitals and underscores in package names.

// checkNames returns an error if a field of the package does not follow the grammar. Absent fields pass.
func (p *Package) checkNames() error {
	for _, field := range []struct {
		name, value, is string
		valid           func(string) bool
	}{
		{"Package", p.Name, "package name", validName},
		{"Version", p.Version, "version", validVersion},
		{"Architecture", p.Architecture, "architecture", validArchitecture},
		{"Filename", p.Filename, "path below the archive", validPath},
	} {
		if field.value != "" && !field.valid(field.value) {
			return fmt.Errorf("%s: %q is not a valid %s", field.name, clip([]byte(field.value)), field.is)
		}
	}
	if p.Size < 0 || p.InstalledSize < 0 {
		return fmt.Errorf("package %s: negative size", p.Name)
	}
	return nil
}

// validName reports whether a package may have the name: the rule of policy 5.6.1, but single characters, capitals and
// underscores are valid too, since some archives have them.
func validName(name string) bool {
	return name != "" && isAlphanumeric(name[0]) && only(name[1:], "+-._")
}

// validVersion reports whether text is a version (policy 5.6.12): an epoch in digits and a colon, an upstream version
// and, after the last hyphen, a revision. The upstream version begins with a letter or a digit, where policy says that
// it should be a digit; colons in it need an epoch, hyphens a revision.
func validVersion(text string) bool {
	epoch, rest := cutEpoch(text)
	if digits(epoch) != len(epoch) || epoch == "" && strings.HasPrefix(text, ":") {
		return false
	}
	upstream, revision := cutRevision(rest)
	if upstream == "" || !isAlphanumeric(upstream[0]) || !only(upstream, ".+-~:") {
		return false
	}
	return upstream == rest || revision != "" && only(revision, "+.~")
}

// validArchitecture reports whether an architecture may have the name (policy 5.6.8): "amd64", "kfreebsd-amd64".
func validArchitecture(name string) bool {
	return name != "" && isAlphanumeric(name[0]) && only(name[1:], "-")
}

// validPath reports whether a path names a file below the directory that it is relative to.
func validPath(path string) bool {
	for _, c := range []byte(path) {
		if c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	return fs.ValidPath(path) && path != "."
}

// validSuite reports whether a name may be a suite or a codename: "trixie", "buster/updates", "rc-buggy".
func validSuite(name string) bool {
	return fs.ValidPath(name) && isAlphanumeric(name[0]) && only(name, "+-._~/") && !strings.Contains(name, "..")
}

// only reports whether text consists of letters, digits and the characters of more.
func only(text, more string) bool {
	for i := range len(text) {
		if !isAlphanumeric(text[i]) && strings.IndexByte(more, text[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
}
