// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"io/fs"
	"strings"
)

// Names and versions of an index or of a .deb become names of files and parts of labels and messages, so they are held
// against the grammar of Debian policy when they are read, whoever signed them. Where dpkg is more lenient than policy,
// so is this, since archives of others use that: capitals and underscores in names of packages.

// checkNames refuses a package whose fields do not follow the grammar. Fields that are absent pass.
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
			return fmt.Errorf("%s: %q is no %s", field.name, clip([]byte(field.value)), field.is)
		}
	}
	if p.Size < 0 || p.InstalledSize < 0 {
		return fmt.Errorf("package %s: its size is less than nothing", p.Name)
	}
	return nil
}

// validName reports whether a name can be that of a package: as policy 5.6.1 says, but shorter than two characters
// and with capitals and underscores too, since some archives have those.
func validName(name string) bool {
	return name != "" && isAlphanumeric(name[0]) && only(name[1:], "+-._")
}

// validVersion reports whether text is a version (policy 5.6.12): an epoch in digits and a colon, an upstream version
// and, behind the last hyphen, a revision. Each begins with a letter or a digit where policy says that it should with
// a digit; colons in an upstream version need an epoch, hyphens a revision.
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

// validArchitecture reports whether a name can be that of an architecture (policy 5.6.8): "amd64", "kfreebsd-amd64".
func validArchitecture(name string) bool {
	return name != "" && isAlphanumeric(name[0]) && only(name[1:], "-")
}

// validPath reports whether a path leads to a file below the directory that it is relative to.
func validPath(path string) bool {
	return fs.ValidPath(path) && path != "." && !strings.ContainsFunc(path,
		func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' })
}

// validSuite reports whether a name can be a suite's or a codename: "trixie", "buster/updates", "rc-buggy".
func validSuite(name string) bool {
	return fs.ValidPath(name) && isAlphanumeric(name[0]) && only(name, "+-._~/") && !strings.Contains(name, "..")
}

// only reports whether text has letters, digits and the characters of more, and nothing else.
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
