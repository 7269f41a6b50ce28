// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestListsInConfigFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                      nil,
		" , ,":                  nil,
		"a":                     {"a"},
		"a, b ,c":               {"a", "b", "c"},
		`"a,b",c`:               {"a,b", "c"},
		`a, "b, c" , d`:         {"a", "b, c", "d"},
		`"a ""quoted"" b"`:      {`a "quoted" b`},
		`" a ",b `:              {" a ", "b"},
		`"a"b, "c`:              {`"a"b`, `"c`},
		`it's, 5" disk`:         {"it's", `5" disk`},
		"variant=minbase, a b":  {"variant=minbase", "a b"},
		"first,\nsecond\nthird": {"first", "second", "third"},
	} {
		if got := splitList(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := splitList(joinList(want)); !slices.Equal(got, want) {
			t.Errorf("%q written as %q: got %q", want, joinList(want), got)
		}
	}
}

func TestBooleansInConfigFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"yes": "True", "On": "True", "1": "True", "TRUE": "True",
		"no": "False", "off": "False", "0": "False", "False": "False", "": "False",
	} {
		s := newSettings("amd64")
		*s.lookup("sudo").value.(boolValue).p = want == "False"
		if err := s.lookup("sudo").apply([]string{text}, secretSource{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got := s.lookup("sudo").value.dump()[0]; got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if err := newSettings("amd64").lookup("sudo").apply([]string{"perhaps"}, secretSource{}); err == nil {
		t.Error("perhaps is accepted as yes or no")
	}
}

// dumpOf returns the dump of the settings in an INI or YAML file, or the errors in it.
func dumpOf(name string, data []byte) (string, error) {
	s := newSettings("amd64")
	_, flags := newRoot(environment{}, io.Discard, io.Discard)
	if err := s.applyConfig(name, data, flags); err != nil {
		return "", err
	}
	for _, err := range s.problems {
		return "", err
	}
	var b bytes.Buffer
	err := s.dumpConfig(&b)
	return b.String(), err
}

// FuzzConfigFile checks that any config file is either an error, or can be dumped and read back unchanged. The dump
// rejects what an INI file cannot hold.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{
		"", "[config]\n", "[config]\nimage = x\n", "[config]\npackage = a, \"b,c\"\n  d\n",
		"[config]\nuser: joe/pw, ann/\n",
		"[config]\nserial-console-command = \" `x` '''\n", "[config]\nmirror = \"\"\"a\nb\"\"\"\n",
		"[config]\nhostname = ` x `\n",
		"config:\n  image: x\n", "config: {package: [a, \"b,c\", \" d \"]}\n", "config:\n  hostname: |\n    a\n    b\n",
		"config: &a\n  image: *a\n", "config:\n  debootstrapopts: ['a \"b\" c', '\"', ',']\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"x.conf", "x.yaml"} {
			first, err := dumpOf(name, data)
			if err != nil {
				continue
			}
			second, err := dumpOf("dump.conf", []byte(first))
			if err != nil {
				t.Errorf("%s: the dump %q cannot be read: %v", name, first, err)
			} else if second != first {
				t.Errorf("%s: got dump %q of dump %q", name, diff(first, second), first)
			}
		}
	})
}

// diff returns the lines of b that a does not contain.
func diff(a, b string) []string {
	var lines []string
	for line := range strings.Lines(b) {
		if !strings.Contains(a, line) {
			lines = append(lines, line)
		}
	}
	return lines
}
