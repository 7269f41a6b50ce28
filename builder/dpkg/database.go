// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// adminDir is dpkg's database, in the root directory of the process.
const adminDir = "/var/lib/dpkg"

// Files of the database.
const (
	statusFile       = "status"
	infoDir          = "info"
	triggersDir      = "triggers"
	fileTriggers     = triggersDir + "/File"
	deferredTriggers = triggersDir + "/Unincorp"
	scriptDir        = "tmp.ci"
)

// The states of a package that this program asks for (dpkg(1), PACKAGE STATES).
const (
	notInstalled    = "not-installed"
	configFiles     = "config-files"
	unpacked        = "unpacked"
	triggersAwaited = "triggers-awaited"
	triggersPending = "triggers-pending"
	installed       = "installed"
)

// record is the stanza of a package in the status file.
type record struct {
	text   string
	fields archive.Stanza
	// want is the selection of the package: install, hold, deinstall or purge.
	want, state string
}

// unwanted reports whether dpkg --remove --pending would do something to the package.
func (r *record) unwanted() bool {
	return r.want == "purge" && r.state != notInstalled || r.want == "deinstall" && r.present()
}

// present reports whether files of the package may be there.
func (r *record) present() bool { return r.state != notInstalled && r.state != configFiles }

// configured reports whether the package has been configured, as far as others' dependencies are concerned.
func (r *record) configured() bool { return r.state == installed || r.state == triggersPending }

// interested reports whether triggers of the package can be activated.
func (r *record) interested() bool { return r.configured() || r.state == triggersAwaited }

// database is what dpkg knows.
type database struct {
	dir     string
	records []*record
	byName  map[string][]*record
	// provided has who provides a name.
	provided map[string][]*record
	// native is the architecture of the installed dpkg.
	native string
	// owned has all files of packages; nil before the first question.
	owned map[string]bool
	// changed is set while the status file is not that of records.
	changed bool
}

// errNotOurs is wrapped by the reasons for leaving something to the real dpkg.
var errNotOurs = errors.New("left to dpkg")

func notOurs(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errNotOurs}, args...)...)
}

// openDatabase reads the database. It wraps errNotOurs if that has something which only the real dpkg can read.
func openDatabase(dir string) (*database, error) {
	db := &database{dir: dir, byName: map[string][]*record{}, provided: map[string][]*record{}}
	if _, err := os.Stat(db.path(infoDir + "/format")); err != nil {
		return nil, notOurs("the database is new")
	}
	updates, err := os.ReadDir(db.path("updates"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if slices.ContainsFunc(updates, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), "tmp") }) {
		return nil, notOurs("an earlier dpkg was interrupted")
	}
	text, err := os.ReadFile(db.path(statusFile))
	if err != nil {
		return nil, err
	}
	if err := db.parse(text); err != nil {
		return nil, notOurs("%s: %w", statusFile, err)
	}
	self := db.byName["dpkg"]
	if len(self) != 1 {
		return nil, notOurs("it is not installed yet")
	}
	if db.native = self[0].fields.Get("Architecture"); db.native == "" {
		// Debootstrap notes dpkg as installed before it has installed it.
		if db.native, err = realArchitecture(); err != nil {
			return nil, notOurs("%w", err)
		}
	}
	return db, nil
}

// path returns the path of a file of the database.
func (db *database) path(name string) string { return path.Join(db.dir, name) }

// parse reads the text of the status file.
func (db *database) parse(text []byte) error {
	for chunk := range bytes.SplitSeq(text, []byte("\n\n")) {
		chunk = bytes.Trim(chunk, "\n")
		if len(chunk) == 0 {
			continue
		}
		stanzas, err := archive.ReadStanzas(bytes.NewReader(chunk))
		if err != nil {
			return err
		}
		if len(stanzas) != 1 {
			return fmt.Errorf("%q is not one stanza", chunk)
		}
		words := strings.Fields(stanzas[0].Get("Status"))
		const wordsOfStatus = 3
		if len(words) != wordsOfStatus {
			return fmt.Errorf("%s has the status %q", stanzas[0].Get("Package"), words)
		}
		db.add(&record{text: string(chunk) + "\n", fields: stanzas[0], want: words[0], state: words[2]})
	}
	return nil
}

// add adds a record.
func (db *database) add(r *record) {
	db.records = append(db.records, r)
	name := r.fields.Get("Package")
	db.byName[name] = append(db.byName[name], r)
	for _, provided := range names(r.fields.Get("Provides")) {
		db.provided[provided] = append(db.provided[provided], r)
	}
}

// configured returns the names of the packages that are configured.
func (db *database) configured() map[string]bool {
	all := map[string]bool{}
	for _, r := range db.records {
		if r.configured() || r.state == triggersAwaited {
			all[infoName(r.fields)] = true
		}
	}
	return all
}

// unconfigure notes a package as unpacked again, if it is installed as it is, and not in another version. Dpkg will
// configure it again, in the same order as if it had unpacked it again.
func (db *database) unconfigure(d *deb) bool {
	const state = "Status: install ok "
	for _, r := range db.byName[d.name()] {
		if r.state != installed || r.want != "install" || r.fields.Get("Version") != d.version() ||
			r.fields.Get("Architecture") != d.arch() || !strings.Contains(r.text, state+installed+"\n") {
			continue
		}
		text := strings.Replace(r.text, state+installed+"\n",
			state+unpacked+"\nConfig-Version: "+d.version()+"\n", 1)
		db.replace(&record{text: text, fields: r.fields, want: r.want, state: unpacked})
		return true
	}
	return false
}

// replace puts a record in the place of all others of the package.
func (db *database) replace(r *record) {
	name := r.fields.Get("Package")
	db.records = slices.DeleteFunc(db.records, func(old *record) bool { return old.fields.Get("Package") == name })
	delete(db.byName, name)
	db.add(r)
	db.changed = true
}

// save writes the status file.
func (db *database) save() error {
	if !db.changed {
		return nil
	}
	var b strings.Builder
	for _, r := range db.records {
		b.WriteString(r.text)
		b.WriteByte('\n')
	}
	if err := db.write(statusFile, b.String()); err != nil {
		return err
	}
	db.changed = false
	return nil
}

// write replaces a file of the database as a whole.
func (db *database) write(name, text string) error {
	file := db.path(name)
	if err := os.WriteFile(file+"-new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+"-new", file)
}

// lock takes dpkg's lock. It wraps errNotOurs if another has it: the real dpkg has the words for that.
func (db *database) lock() (unlock func() error, err error) {
	f, err := os.OpenFile(db.path("lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	region := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &region); err != nil {
		return nil, errors.Join(notOurs("lock %s: %w", db.dir, err), f.Close())
	}
	return f.Close, nil
}

// infoFile returns the name of a file that the database keeps for a package.
func infoFile(pkg, kind string) string { return infoDir + "/" + pkg + "." + kind }

// isOwned reports whether a package has a file, other than as a directory.
func (db *database) isOwned(name string) (bool, error) {
	if db.owned == nil {
		lists, err := filepath.Glob(db.path(infoDir + "/*.list"))
		if err != nil {
			return false, err
		}
		db.owned = map[string]bool{}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err != nil {
				return false, err
			}
			for line := range strings.Lines(string(text)) {
				db.owned[strings.TrimSuffix(line, "\n")] = true
			}
		}
	}
	return db.owned[name], nil
}

// settled has what does not change while packages are unpacked, unless a script changes it.
type settled struct {
	// diverted has both names of each diversion, overridden the names with a statoverride.
	diverted, overridden map[string]bool
	// log is the name of dpkg's log, or "".
	log string
}

// readSettled reads diversions, overrides and dpkg's configuration. It wraps errNotOurs for a configuration that has
// more than dpkg's own.
func (db *database) readSettled(configDir string) (s settled, err error) {
	s.diverted, s.overridden = map[string]bool{}, map[string]bool{}
	diversions, err := readLines(db.path("diversions"))
	if err != nil {
		return s, err
	}
	const linesOfDiversion = 3
	for i, line := range diversions {
		if i%linesOfDiversion < 2 {
			s.diverted[line] = true
		}
	}
	overrides, err := readLines(db.path("statoverride"))
	if err != nil {
		return s, err
	}
	for _, line := range overrides {
		const fieldsOfOverride = 4
		if fields := strings.SplitN(line, " ", fieldsOfOverride); len(fields) == fieldsOfOverride {
			s.overridden[fields[3]] = true
		}
	}
	configs, err := filepath.Glob(configDir + "/dpkg.cfg.d/*")
	if err != nil {
		return s, err
	}
	for _, config := range append(configs, configDir+"/dpkg.cfg") {
		lines, err := readLines(config)
		if err != nil {
			return s, err
		}
		for _, line := range lines {
			line = strings.TrimSpace(line)
			name, isLog := strings.CutPrefix(line, "log ")
			switch {
			case line == "", strings.HasPrefix(line, "#"), line == "no-debsig", line == "force-unsafe-io":
			case isLog:
				s.log = strings.TrimSpace(name)
			default:
				return s, notOurs("%s has %q", config, line)
			}
		}
	}
	return s, nil
}

// readLines returns the lines of a file, none if there is no file.
func readLines(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || len(text) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// names returns the names of the packages in a list of relations.
func names(field string) []string {
	relations, err := archive.ParseDependencies(field)
	if err != nil {
		return nil
	}
	var all []string
	for _, alternatives := range relations {
		for _, r := range alternatives {
			all = append(all, r.Name)
		}
	}
	return all
}
