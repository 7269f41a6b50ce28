// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"reflect"
	"testing"
)

func TestParseDependenciesReadsEachForm(t *testing.T) {
	t.Parallel()
	field := "libc6 (>= 2.38), python3:any|python3.11 (<<3.12),\n foo [amd64 !i386] <!nocheck> <cross>, a (= 1:2.0-3~x+y), old (> 1), older(< 2),"
	want := []Dependency{
		{{Name: "libc6", Operator: ">=", Version: "2.38"}},
		{{Name: "python3", Qualifier: "any"}, {Name: "python3.11", Operator: "<<", Version: "3.12"}},
		{{Name: "foo", Architectures: []string{"amd64", "!i386"}, Profiles: [][]string{{"!nocheck"}, {"cross"}}}},
		{{Name: "a", Operator: "=", Version: "1:2.0-3~x+y"}},
		{{Name: "old", Operator: ">=", Version: "1"}},
		{{Name: "older", Operator: "<=", Version: "2"}},
	}
	got, err := ParseDependencies(field)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := got[2].String(); s != "foo [amd64 !i386] <!nocheck> <cross>" {
		t.Errorf("printed as %q", s)
	}
}

func TestParseDependenciesRejectsInvalidFields(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		"a | ", "a (1)", "a (>= )", "a (>= 1", "a (== 1)", "a (>= 1) (<< 2)", "a b", "-a", "a [amd64", "a <x", "ä",
		"a;b", "a (>= 1 2)",
	} {
		if got, err := ParseDependencies(field); err == nil {
			t.Errorf("%q: read as %v", field, got)
		}
	}
	if got, err := ParseDependencies(" , ,\n"); err != nil || got != nil {
		t.Errorf("empty field: got %v, %v", got, err)
	}
}

func TestRelationAppliesByArchitectureAndProfile(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]bool{
		"a": true, "a [amd64]": true, "a [arm64]": false, "a [!arm64]": true, "a [!amd64 !i386]": false,
		"a [linux-any]": true,
		"a [any]":       true, "a <!nocheck>": true, "a <cross>": false, "a <cross> <!stage1>": true,
		"a <!nocheck cross>": false,
	} {
		d, err := ParseDependencies(field)
		if err != nil {
			t.Fatal(err)
		}
		if got := d[0][0].Applies("amd64"); got != want {
			t.Errorf("%s: got %v, want %v", field, got, want)
		}
	}
}

func TestRelationAllowsVersions(t *testing.T) {
	t.Parallel()
	for operator, want := range map[string][3]bool{ // older, equal, newer
		"<<": {true, false, false}, "<=": {true, true, false}, "=": {false, true, false},
		">=": {false, true, true}, ">>": {false, false, true}, "": {true, true, true},
	} {
		r := Relation{Name: "a", Operator: operator, Version: "2"}
		for i, version := range []string{"1", "2.0", "3"} {
			if version == "2.0" {
				version = "2"
			}
			if got := r.Allows(version); got != want[i] {
				t.Errorf("%s %s 2: got %v, want %v", version, operator, got, want[i])
			}
		}
	}
}

func FuzzParseDependencies(f *testing.F) {
	f.Add("libc6 (>= 2.38), python3:any | b [amd64] <!nocheck>")
	f.Fuzz(func(t *testing.T, field string) {
		dependencies, err := ParseDependencies(field)
		if err != nil {
			return
		}
		for _, d := range dependencies {
			again, err := ParseDependencies(d.String())
			if err != nil || len(again) != 1 || again[0].String() != d.String() {
				t.Errorf("%q is printed as %q, which reads as %v, %v", field, d, again, err)
			}
		}
	})
}
