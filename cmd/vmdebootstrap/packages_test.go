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

// packageRow matches a line of the table "Packages" in contrib/design/architecture.md: a package, its
// contents, and what it imports of ours.
var packageRow = regexp.MustCompile("(?m)^\\| `((?:builder|oci|diskimage)[a-z0-9/]*)` \\| [^|]+ \\| ([^|]*) \\|$")

// TestPackagesAreThoseOfTheArchitecture compares the table with the tree, in both directions: a package
// without a line is an error, and so is one that imports more, or less, than its line says.
func TestPackagesAreThoseOfTheArchitecture(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../contrib/design/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Packages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	want := map[string]string{}
	for _, row := range packageRow.FindAllStringSubmatch(section, -1) {
		want[row[1]] = strings.Join(strings.Fields(strings.ReplaceAll(row[2], "`", "")), " ")
	}
	got := map[string]string{}
	for _, tree := range []string{"builder", "oci", "diskimage"} {
		for _, line := range listPackages(t, tree, "-f", `{{.ImportPath}} {{join .Imports " "}}`) {
			name, imports, _ := strings.Cut(line, " ")
			var ours []string
			for i := range strings.FieldsSeq(imports) {
				if short, ok := strings.CutPrefix(i, module); ok {
					ours = append(ours, nameInTable(tree, short))
				}
			}
			if name = strings.TrimPrefix(name, module); !strings.HasSuffix(name, "test") { // not test helpers
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
		t.Errorf("%s is in the table but not in the tree", name)
	}
}

// nameInTable returns the name of an import in the table: in the lines of other trees, diskimage/ext is diskimage.
func nameInTable(tree, name string) string {
	first, _, _ := strings.Cut(name, "/")
	if first == "diskimage" && tree != first {
		return first
	}
	return name
}
