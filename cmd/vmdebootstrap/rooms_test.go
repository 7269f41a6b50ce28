// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// room is a line of the table "Rooms" of contrib/design/architecture.md: a package of builder or oci, and
// what it imports of ours.
var room = regexp.MustCompile("(?m)^\\| `((?:builder|oci)[a-z/]*)` \\| [^|]+ \\| ([^|]*) \\|$")

// TestRoomsAreThoseOfTheArchitecture holds the table against the tree, both ways: a room that nobody has
// written down is an error, as is one that knows more, or less, than its line says.
func TestRoomsAreThoseOfTheArchitecture(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../contrib/design/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Rooms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	want := map[string]string{}
	for _, row := range room.FindAllStringSubmatch(section, -1) {
		want[row[1]] = strings.Join(strings.Fields(strings.ReplaceAll(row[2], "`", "")), " ")
	}
	got := map[string]string{}
	for _, tree := range []string{"builder", "oci"} {
		for _, line := range listPackages(t, tree, "-f", `{{.ImportPath}} {{join .Imports " "}}`) {
			name, imports, _ := strings.Cut(line, " ")
			var ours []string
			for i := range strings.FieldsSeq(imports) {
				if short, ok := strings.CutPrefix(i, module); ok {
					ours = append(ours, nameOfRoom(short))
				}
			}
			if name = strings.TrimPrefix(name, module); !strings.HasSuffix(name, "test") { // those are for tests
				slices.Sort(ours)
				got[name] = strings.Join(slices.Compact(ours), ", ")
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if line, there := want[name]; !there {
			t.Errorf("%s is not in the table: | `%s` | … | %s |", name, name, got[name])
		} else if line != got[name] {
			t.Errorf("%s imports %s; the table says %s", name, got[name], line)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is in the table and not in the tree", name)
	}
}

// nameOfRoom shortens diskimage/ext to diskimage: outside of builder and oci a whole tree counts as one.
func nameOfRoom(name string) string {
	first, _, _ := strings.Cut(name, "/")
	if first == "builder" || first == "oci" {
		return name
	}
	return first
}
