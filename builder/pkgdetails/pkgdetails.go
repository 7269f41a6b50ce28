// SPDX-License-Identifier: Apache-2.0

// Package pkgdetails answers the questions that debootstrap asks about a Packages file.
//
// Debootstrap's shell cannot read 57 MB of stanzas in a reasonable time, so it asks a program called pkgdetails. Where
// it finds perl it uses a script of its own, which takes 28 of the 73 CPU seconds of a build. Where there is no perl it
// runs /usr/lib/debootstrap/pkgdetails, a C program that only the Debian installer ships. This package is that program
// for the toolbox. Its output is that of the perl script, byte for byte, down to what looks like an oversight there:
// FIELD knows no field but Priority, the last of several stanzas of one package wins, and a stanza that no empty line
// ends is not there. (The script takes a field that a stanza lacks from the one before. No archive has such stanzas.)
//
// The sources are debootstrap's functions file, section "pkgdetails", and pkgdetails.c of base-installer. The question
// "WGET%" is not answered: debootstrap asks it only on behalf of the Debian installer's progress bar.
//
// Some of debootstrap's functions start a dozen processes for each package. Functions replaces those that it knows by
// others with the same meaning; two of these ask this program questions of their own.
package pkgdetails

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Name is the base name of the program that debootstrap runs.
const Name = "pkgdetails"

// Path is where debootstrap looks for it, if there is no perl.
const Path = "/usr/lib/debootstrap/" + Name

// Run answers one question, which args hold as debootstrap passes it:
//
//	GETDEPS FILE PACKAGE...             names of what the packages depend on, sorted
//	PKGS MIRROR FILE PACKAGE...         "PACKAGE VERSION ARCHITECTURE MIRROR FILENAME DIGEST SIZE", or "PACKAGE -"
//	FIELD FIELD MIRROR FILE VALUE...    the same line, with the name alone, for packages whose field has such a value
//	STANZAS FILE PACKAGE...             the packages' stanzas
//	RESOLVE EXCLUDE FILE... -- PACKAGE...  the packages and all that they depend on, see resolve
//	DEBS MIRROR FILE TARGET PACKAGE...  "PACKAGE VERSION URL PATH" of verified .deb files, see debs
//
// checksum is the name of the field that holds the digest, of DEBOOTSTRAP_CHECKSUM_FIELD.
func Run(args []string, checksum string, out io.Writer) error {
	w := bufio.NewWriter(out)
	if err := answer(args, checksum, w); err != nil {
		return err
	}
	return w.Flush()
}

func answer(args []string, checksum string, w *bufio.Writer) error {
	if len(args) > 1 && args[0] == "RESOLVE" {
		return resolve(args[1], args[2:], w)
	}
	fixed := map[string]int{"GETDEPS": 2, "PKGS": 3, "FIELD": 4, "STANZAS": 2, "DEBS": 3}
	if len(args) == 0 || fixed[args[0]] == 0 {
		return fmt.Errorf("unknown question %q", args)
	}
	n := fixed[args[0]]
	if len(args) < n {
		return fmt.Errorf("%s takes at least %d arguments, not %d", args[0], n-1, len(args)-1)
	}
	text, err := mapFile(args[n-1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "GETDEPS":
		dependencies(text, args[n:], w)
	case "PKGS":
		packages(text, checksum, args[1], args[n:], w)
	case "FIELD":
		byField(text, args[1], args[2], args[n:], w)
	case "STANZAS":
		stanzas(text, args[n:], w)
	case "DEBS":
		if len(args) == n {
			return errors.New("DEBS takes a target")
		}
		return debs(text, checksum, args[1], args[n], args[n+1:], w)
	}
	return nil
}

// mapFile maps a file into memory, for as long as the process lives.
func mapFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	text, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: name, Err: err}
	}
	return text, nil
}

var (
	emptyLine = []byte("\n\n")
	newline   = []byte("\n")
	nameField = []byte("Package: ")
)

// each calls use for each stanza that an empty line ends, with its package's name and the empty line.
func each(text []byte, use func(name, stanza []byte)) {
	for {
		text = bytes.TrimLeft(text, "\n")
		end := bytes.Index(text, emptyLine)
		if end < 0 {
			return
		}
		stanza := text[:end+len(emptyLine)]
		text = text[end+len(emptyLine):]
		if name, ok := bytes.CutPrefix(stanza, nameField); ok {
			use(name[:bytes.IndexByte(name, '\n')], stanza)
			continue
		}
		// In the files of the archive, the name comes first. In others it may not.
		for line := range bytes.Lines(stanza) {
			if name, ok := bytes.CutPrefix(line, nameField); ok {
				use(bytes.TrimSuffix(name, newline), stanza)
				break
			}
		}
	}
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

var version = regexp.MustCompile(`\s*[(].*[)]\s*`)

// dependencies prints the first alternative of each dependency, without its version.
func dependencies(text []byte, names []string, w *bufio.Writer) {
	wanted, found := set(names), map[string]bool{}
	each(text, func(name, stanza []byte) {
		if wanted[string(name)] {
			addDependencies(stanza, found)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintln(w, name)
	}
}

// addDependencies adds what dependencies prints for a package.
func addDependencies(stanza []byte, found map[string]bool) {
	for line := range bytes.Lines(stanza) {
		field, value, _ := strings.Cut(string(line), ": ")
		if field != "Depends" && field != "Pre-Depends" {
			continue
		}
		for relation := range strings.SplitSeq(strings.TrimRight(value, ", \t\n"), ",") {
			relation, _, _ = strings.Cut(strings.TrimSpace(relation), "|")
			relation = version.ReplaceAllString(strings.TrimRight(relation, " \t"), "")
			relation, _, _ = strings.Cut(relation, ":")
			found[relation] = true
		}
	}
}

// fields returns the values of some fields of a stanza, "" for what it lacks.
func fields(stanza []byte, names ...string) []string {
	values := make([]string, len(names))
	for line := range bytes.Lines(stanza) {
		field, value, ok := bytes.Cut(line, []byte(":"))
		if i := slices.Index(names, string(field)); ok && i >= 0 {
			values[i] = strings.TrimLeft(string(bytes.TrimSuffix(value, newline)), " \t")
		}
	}
	return values
}

// packages prints where each package is, sorted, and "-" for those that the archive lacks.
func packages(text []byte, checksum, mirror string, names []string, w *bufio.Writer) {
	wanted, found := set(names), map[string]string{}
	each(text, func(name, stanza []byte) {
		if !wanted[string(name)] {
			return
		}
		v := fields(stanza, "Version", "Architecture", "Filename", checksum, "Size")
		found[string(name)] = strings.Join(slices.Insert(v, 2, mirror), " ")
	})
	lines := make([]string, 0, len(found))
	for name, line := range found {
		lines = append(lines, name+" "+line)
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := found[name]; !ok {
			fmt.Fprintln(w, name, "-")
		}
	}
}

// byField prints the packages whose Priority is one of the values, in the order of the file. Debootstrap hides all
// other fields from its script, and so the columns behind the name are empty.
func byField(text []byte, field, mirror string, values []string, w *bufio.Writer) {
	if !strings.EqualFold(field, "Priority:") {
		return
	}
	wanted := set(values)
	var before, line string
	each(text, func(name, stanza []byte) {
		if string(name) != before {
			fmt.Fprint(w, line)
			before = string(name)
		}
		line = ""
		if wanted[fields(stanza, "Priority")[0]] {
			line = before + "   " + mirror + "   \n"
		}
	})
	fmt.Fprint(w, line)
}

func stanzas(text []byte, names []string, w *bufio.Writer) {
	wanted := set(names)
	each(text, func(name, stanza []byte) {
		if wanted[string(name)] {
			fmt.Fprintf(w, "%s", stanza)
		}
	})
}
