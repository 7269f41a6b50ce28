// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"slices"
	"strings"
)

// directive is a line of a package's control file triggers (deb-triggers(5)).
type directive struct {
	interest bool
	name     string
	noAwait  bool
}

// directives reads the control file triggers.
func (d *deb) directives() ([]directive, error) {
	f := d.find("triggers")
	if f == nil {
		return nil, nil
	}
	var all []directive
	for line := range strings.Lines(string(f.data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, name, _ := strings.Cut(line, " ")
		x := directive{name: strings.TrimSpace(name), noAwait: strings.HasSuffix(verb, "-noawait")}
		switch strings.TrimSuffix(strings.TrimSuffix(verb, "-noawait"), "-await") {
		case "interest":
			x.interest = true
		case "activate":
		default:
			return nil, notOurs("triggers has the line %q", line)
		}
		all = append(all, x)
	}
	return all, nil
}

// interested are the packages that have an interest in a trigger, by the words of its line.
func interestedPackage(word string) string {
	name, _, _ := strings.Cut(word, "/") // "/noawait"
	name, _, _ = strings.Cut(name, ":")  // architecture
	return name
}

// addInterests registers the interests of a package.
func (u *unpacker) addInterests(d *deb) error {
	all, err := d.directives()
	if err != nil {
		return err
	}
	for _, x := range all {
		if !x.interest {
			continue
		}
		word := d.infoName()
		if x.noAwait {
			word += "/noawait"
		}
		file, line := triggersDir+"/"+x.name, word
		if strings.HasPrefix(x.name, "/") {
			file, line = fileTriggers, x.name+" "+word
		}
		lines, err := readLines(u.db.path(file))
		if err != nil {
			return err
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
		if err := u.db.write(file, strings.Join(lines, "\n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// activateByName activates the triggers that the package names.
func (u *unpacker) activateByName(d *deb) error {
	all, err := d.directives()
	if err != nil {
		return err
	}
	var active []string
	for _, x := range all {
		if x.interest {
			continue
		}
		var lines []string
		if strings.HasPrefix(x.name, "/") {
			lines, err = u.interestsInFile(x.name)
		} else {
			lines, err = readLines(u.db.path(triggersDir + "/" + x.name))
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(lines, u.isInterested) {
			active = append(active, x.name)
		}
	}
	return u.activate(active)
}

// interestsInFile returns the packages interested in a path.
func (u *unpacker) interestsInFile(name string) ([]string, error) {
	lines, err := readLines(u.db.path(fileTriggers))
	if err != nil {
		return nil, err
	}
	var words []string
	for _, line := range lines {
		if file, word, ok := strings.Cut(line, " "); ok && file == name {
			words = append(words, word)
		}
	}
	return words, nil
}

// activateByPath activates the triggers of files and directories that the package has.
func (u *unpacker) activateByPath(d *deb) error {
	lines, err := readLines(u.db.path(fileTriggers))
	if err != nil || len(lines) == 0 {
		return err
	}
	interests := map[string]bool{}
	for _, line := range lines {
		if file, word, ok := strings.Cut(line, " "); ok && u.isInterested(word) {
			interests[file] = true
		}
	}
	var active []string
	for _, m := range d.members {
		if interests[m.path] {
			active = append(active, m.path)
		}
	}
	return u.activate(active)
}

// isInterested reports whether the package of a line of triggers can be triggered.
func (u *unpacker) isInterested(word string) bool {
	return slices.ContainsFunc(u.db.byName[interestedPackage(word)], (*record).interested)
}

// activate notes triggers for the next dpkg, as dpkg-trigger(1) does. The package itself does not wait for them: dpkg
// notes that only within one run.
func (u *unpacker) activate(triggers []string) error {
	if len(triggers) == 0 {
		return nil
	}
	lines, err := readLines(u.db.path(deferredTriggers))
	if err != nil {
		return err
	}
	for _, trigger := range triggers {
		if line := trigger + " -"; !slices.Contains(lines, line) {
			lines = append(lines, line)
			u.triggered = true
		}
	}
	return u.db.write(deferredTriggers, strings.Join(lines, "\n")+"\n")
}
