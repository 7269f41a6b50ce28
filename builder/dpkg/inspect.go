// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// place says what a member of a package finds in the root file system.
type place int

const (
	// free is a name that nothing has.
	free place = iota
	// there is a directory, or a link to one, that stays.
	there
	// replaced is a file that no package has, and that the member replaces.
	replaced
	// beside is a configuration file, which is written beside its name (conffileSuffix).
	beside
)

// conffileSuffix is what dpkg --configure looks for.
const conffileSuffix = ".dpkg-new"

// inspect returns what becomes of each member of a package. It wraps errNotOurs, with the reason, if this program is
// not certain to unpack the package as dpkg does.
func inspect(d *deb, db *database, s settled, c call) ([]place, error) {
	if err := inspectControl(d, db, c); err != nil {
		return nil, err
	}
	conffiles, err := d.conffiles()
	if err != nil {
		return nil, notOurs("%w", err)
	}
	isConffile := map[string]bool{}
	for _, name := range conffiles {
		isConffile[name] = true
	}
	places := make([]place, len(d.members))
	seen := map[string]bool{}
	for i, m := range d.members {
		if seen[m.path] || strings.Contains(m.path, "\n") {
			return nil, notOurs("it has %q twice, or a line break in a name", m.path)
		}
		seen[m.path] = true
		if s.diverted[m.path] || s.overridden[m.path] {
			return nil, notOurs("%s is diverted or overridden", m.path)
		}
		if places[i], err = inspectMember(m, isConffile[m.path], db); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// inspectMember says what a member finds.
func inspectMember(m member, conffile bool, db *database) (place, error) {
	switch m.header.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	case tar.TypeLink:
		if conffile {
			return free, notOurs("%s is a configuration file with two names", m.path)
		}
	default:
		return free, notOurs("%s has the type %q", m.path, m.header.Typeflag)
	}
	info, err := os.Lstat(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		if conffile {
			return beside, nil
		}
		return free, nil
	}
	if err != nil {
		return free, notOurs("%w", err)
	}
	switch {
	case m.header.Typeflag == tar.TypeDir:
		if target, err := os.Stat(m.path); err != nil || !target.IsDir() {
			return free, notOurs("%s is no directory", m.path)
		}
		return there, nil
	case conffile:
		if !info.Mode().IsRegular() {
			return free, notOurs("the configuration file %s is there as something else", m.path)
		}
	case m.header.Typeflag == tar.TypeSymlink && (info.IsDir() || sameDirectory(m)):
		return there, nil
	case info.IsDir():
		return free, notOurs("%s is a directory", m.path)
	}
	owned, err := db.isOwned(m.path)
	if err != nil {
		return free, err
	}
	if owned {
		return free, notOurs("%s is another package's", m.path)
	}
	if conffile {
		return beside, nil
	}
	return replaced, nil
}

// sameDirectory reports whether a link exists and leads to the directory to which that of the package would.
func sameDirectory(m member) bool {
	target := m.header.Linkname
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(m.path), target)
	}
	is, err := os.Stat(m.path)
	if err != nil || !is.IsDir() {
		return false
	}
	will, err := os.Stat(target)
	return err == nil && os.SameFile(is, will)
}

// controlNames are the control files that dpkg only stores. All others of those that this program knows are read.
var controlNames = []string{
	"md5sums", "shlibs", "symbols", "templates", "config", "preinst", "postinst", "prerm", "postrm", "conffiles",
	"control", "triggers",
}

// inspectControl looks at the package's control files and at the packages that are there.
func inspectControl(d *deb, db *database, c call) error {
	for _, f := range d.control {
		if !slices.Contains(controlNames, f.name) {
			return notOurs("it has a control file %q", f.name)
		}
	}
	if d.arch() != db.native && d.arch() != "all" {
		return notOurs("it is for %s", d.arch())
	}
	for _, field := range []string{"Package", "Version", "Section", "Priority"} {
		if d.fields.Get(field) == "" {
			return notOurs("it has no field %s", field)
		}
	}
	for _, r := range db.byName[d.name()] {
		if r.state != notInstalled {
			return notOurs("a version of it is %s", r.state)
		}
	}
	if slices.Contains(c.force, "depends") {
		return inspectConflicts(d, db)
	}
	depends, err := archive.ParseDependencies(d.fields.Get("Pre-Depends"))
	if err != nil {
		return notOurs("Pre-Depends: %w", err)
	}
	for _, alternatives := range depends {
		if !slices.ContainsFunc(alternatives, db.satisfied) {
			return notOurs("its pre-dependency %s is not met by a name and a version", alternatives)
		}
	}
	return inspectConflicts(d, db)
}

// satisfied reports whether a configured package has the name and a version that a relation asks for.
func (db *database) satisfied(r archive.Relation) bool {
	return slices.ContainsFunc(db.byName[r.Name], func(p *record) bool {
		return p.configured() && r.Allows(p.fields.Get("Version")) && r.Qualifier == "" &&
			(p.fields.Get("Architecture") == db.native || p.fields.Get("Architecture") == "all")
	})
}

// inspectConflicts looks for packages that exclude each other.
func inspectConflicts(d *deb, db *database) error {
	for _, field := range []string{"Conflicts", "Breaks"} {
		if name := db.hit(d.fields.Get(field)); name != "" {
			return notOurs("its %s names %s", field, name)
		}
	}
	for _, r := range db.records {
		if r.present() && hits(r.fields.Get("Conflicts"), d.fields) {
			return notOurs("%s conflicts with it", r.fields.Get("Package"))
		}
	}
	return nil
}

// hit returns the first name of a list of relations that a package has which is there, or that one provides.
func (db *database) hit(field string) string {
	relations, err := archive.ParseDependencies(field)
	if err != nil {
		return "what it should not"
	}
	for _, alternatives := range relations {
		for _, r := range alternatives {
			if slices.ContainsFunc(slices.Concat(db.byName[r.Name], db.provided[r.Name]),
				func(p *record) bool { return p.present() && meets(r, p.fields) }) {
				return r.Name
			}
		}
	}
	return ""
}

// hits reports whether a list of relations names a package or what it provides. One that cannot be read does.
func hits(field string, pkg archive.Stanza) bool {
	if field == "" {
		return false
	}
	relations, err := archive.ParseDependencies(field)
	return err != nil || slices.ContainsFunc(relations, func(alternatives archive.Dependency) bool {
		return slices.ContainsFunc(alternatives, func(r archive.Relation) bool { return meets(r, pkg) })
	})
}

// meets reports whether a package, or something that it provides, has the name and the version of a relation. What is
// provided without a version has none that a relation could ask for (dpkg's pkg_virtual_deppossi_satisfied).
func meets(r archive.Relation, pkg archive.Stanza) bool {
	if r.Name == pkg.Get("Package") && r.Allows(pkg.Get("Version")) {
		return true
	}
	provides, err := archive.ParseDependencies(pkg.Get("Provides"))
	return err != nil || slices.ContainsFunc(provides, func(alternatives archive.Dependency) bool {
		return slices.ContainsFunc(alternatives, func(p archive.Relation) bool {
			return p.Name == r.Name && (r.Operator == "" || p.Operator == "=" && r.Allows(p.Version))
		})
	})
}
