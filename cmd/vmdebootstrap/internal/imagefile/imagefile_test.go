// SPDX-License-Identifier: Apache-2.0

package imagefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// testKeys are settings of each kind.
var testKeys = []Key{
	{Name: "image", Kind: Text}, {Name: "size", Kind: Size}, {Name: "sudo", Kind: Bool},
	{Name: "package", Kind: Text, List: true}, {Name: "run", Kind: Text, List: true},
	{Name: "log-keep", Kind: Number}, {Name: "log-level", Kind: Choice, Words: []string{"debug", "info"}},
}

// files reads image files by their names.
type files map[string]string

func (f files) reader() Reader {
	return Reader{
		Keys: testKeys,
		ReadFile: func(name string) ([]byte, error) {
			text, ok := f[name]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
		Config: func(_ string, data []byte) ([]Setting, error) {
			name, value, ok := strings.Cut(string(data), "=")
			if !ok {
				return nil, errors.New("not KEY=VALUE")
			}
			return []Setting{{Name: name, Texts: []string{value}}}, nil
		},
		Check: func(s Setting) error {
			if s.Name == "size" && s.Texts[0] == "junk" {
				return errors.New("not a size")
			}
			return nil
		},
	}
}

// read returns the images of files as text: "NAME: key=a,b key=c".
func (f files) read(profiles []string, names ...string) (string, error) {
	images, err := f.reader().Read(names, profiles)
	var lines []string
	for _, image := range images {
		line := image.Name + ":"
		for _, s := range image.Settings {
			line += " " + s.Name + "=" + strings.Join(s.Texts, ",")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), err
}

func TestImagesHaveTheSettingsOfTheirLevels(t *testing.T) {
	t.Parallel()
	f := files{
		"one.yaml":    "image: x.img\nsudo: yes\n",
		"one.json":    `{"image": "x.img"}`,
		"empty.yml":   "# nothing\n",
		"old.conf":    "image=old.img",
		"config.yaml": "config: {}\nother: 1\n", // read by Config
		"base.yaml":   "package: [base]\nsize: 1G\nsudo: no\n",
		"twice.yaml":  "include: [a/left.yaml, a/right.yaml]\n",
		"a/left.yaml": "include: ../base.yaml\nrun: left\n", "a/right.yaml": "include: [../base.yaml]\nrun: right\n",
		"many.yaml": `
include: base.yaml
package: [own]
images:
  web: {image: web.img, package: [nginx], size: 3G}
  db:
    include: a/left.yaml
    package: []
    image: db.img
  plain:
profiles:
  debug:
    package: strace
    images: {web: {size: 4G}}
  bare: {package: }
`,
		"merge.yaml": `
x-web: &web {package: [nginx], size: 1G}
x-all: &all {<<: *web, sudo: yes}
images:
  a: {<<: *all, size: 2G}
  b: {<<: [{size: 5G}, *web]}
`,
	}
	for _, test := range []struct{ names, profiles, want string }{
		{"one.yaml", "", "one: image=x.img sudo=yes"},
		{"one.json", "", "one: image=x.img"},
		{"empty.yml", "", "empty:"},
		{"old.conf", "", "old: image=old.img"},
		{"twice.yaml", "", "twice: package=base size=1G sudo=no run=left run=right"},
		{"many.yaml", "", "web: sudo=no package=base package=own image=web.img package=nginx size=3G\n" +
			"db: run=left package= image=db.img size=1G sudo=no"},
		{"many.yaml", "debug", "web: size=4G"},
		{"many.yaml", "debug,bare", "web: package="},
		{"merge.yaml", "", "a: size=2G package=nginx sudo=yes\nb: size=5G package=nginx"},
		{"one.yaml many.yaml", "debug", "one: image=x.img sudo=yes\nweb:"},
	} {
		var profiles []string
		if test.profiles != "" {
			profiles = strings.Split(test.profiles, ",")
		}
		got, err := f.read(profiles, strings.Fields(test.names)...)
		if err != nil {
			t.Errorf("%s: %v", test.names, err)
			continue
		}
		lines := strings.Split(got, "\n")
		for i, want := range strings.Split(test.want, "\n") {
			words := strings.Fields(want)
			if i >= len(lines) || len(slices.DeleteFunc(words, func(word string) bool {
				return slices.Contains(strings.Fields(lines[i]), word)
			})) > 0 {
				t.Errorf("%s %s: got\n%s\nwant\n%s", test.names, test.profiles, got, test.want)
			}
		}
	}
	got, _ := f.read([]string{"debug"}, "many.yaml")
	if want := "web: package=base sudo=no package=own image=web.img package=nginx package=strace size=4G\n" +
		"db: size=1G sudo=no run=left package= image=db.img package=strace\n" +
		"plain: package=base size=1G sudo=no package=own package=strace"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMistakesHaveFileAndLine(t *testing.T) {
	t.Parallel()
	bomb := "x: &a [1]\n"
	for _, c := range "bcdefghi" {
		bomb += fmt.Sprintf("x-%c: &%c {<<: [*%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c]}\n", c, c, c-1)
	}
	bomb = strings.Replace(bomb, "x: &a [1]", "x-a: &a {sudo: yes}", 1) + "images: {a: {<<: *i}}\n"
	f := files{
		"unknown.yaml":  "pakage: x\n",
		"level.yaml":    "images:\n  a:\n    iamge: x\n    profiles: {}\n",
		"profile.yaml":  "profiles:\n  p:\n    images:\n      a: {}\n",
		"listed.yaml":   "image: [a, b]\n",
		"mapping.yaml":  "package: {a: b}\n",
		"deep.yaml":     "package:\n- [a]\n",
		"twice.yaml":    "image: a\nimage: b\n",
		"list.yaml":     "- a\n",
		"images.yaml":   "images: [a]\n",
		"name.yaml":     "images:\n  a b: {}\n",
		"value.yaml":    "image: a\nsize: junk\n",
		"broken.yaml":   "image: a\n\tsize: [\n",
		"second.yaml":   "image: a\n---\nimage: b\n",
		"self.yaml":     "image: a\ninclude: b.yaml\n",
		"b.yaml":        "include:\n- ./self.yaml\n",
		"gone.yaml":     "include: nosuch.yaml\n",
		"inner.yaml":    "images:\n  a:\n    include: images.yaml\n",
		"old.conf":      "imaeg=x",
		"broken.conf":   "x",
		"bomb.yaml":     bomb,
		"merge.yaml":    "<<: 1\n",
		"key.yaml":      "[a]: b\n",
		"one.yaml":      "images: {web: {}}\n",
		"same/one.yaml": "size: 1G\nimages:\n  web: {}\n",
	}
	for names, wants := range map[string]string{
		"unknown.yaml": `unknown.yaml:1: unknown key "pakage" (did you mean package?)`,
		"level.yaml": `level.yaml:3: unknown key "iamge" (did you mean image?)` + "\n" +
			`level.yaml:4: profiles does not belong here, but to the top level of an image file`,
		"profile.yaml":           `profile.yaml:4: profile "p": no image "a"`,
		"listed.yaml":            "listed.yaml:1: image: takes one value, not a list",
		"mapping.yaml":           "mapping.yaml:1: package: want a value or a list of values, not a mapping",
		"deep.yaml":              "deep.yaml:1: package: line 2: want a value in a list",
		"twice.yaml":             `twice.yaml:2: "image" is in line 1 already`,
		"list.yaml":              "list.yaml:1: want a mapping here",
		"images.yaml":            "images.yaml:1: want a mapping here",
		"name.yaml":              `name.yaml:2: images: "a b" is no name`,
		"value.yaml":             "value.yaml:2: size: not a size",
		"broken.yaml":            "broken.yaml:2: found a tab character that violates indentation",
		"second.yaml":            "second.yaml:2: an image file is one document",
		"self.yaml":              "b.yaml:1: include: self.yaml → b.yaml → self.yaml: the files include one another",
		"gone.yaml":              "gone.yaml:1: include: open nosuch.yaml: file does not exist",
		"nosuch.yaml":            "open nosuch.yaml: file does not exist",
		"inner.yaml":             "images.yaml:1: images does not belong here, but to the top level",
		"old.conf":               `old.conf: unknown key "imaeg" (did you mean image?)`,
		"broken.conf":            "broken.conf: not KEY=VALUE",
		"bomb.yaml":              "bomb.yaml:10: <<: too many values to merge",
		"merge.yaml":             "merge.yaml:1: <<: want a mapping, or a list of mappings",
		"key.yaml":               "key.yaml:1: a key that is not a text",
		"one.yaml same/one.yaml": `same/one.yaml:3: image "web" is in one.yaml:1 as well: give one of them another name`,
	} {
		got, err := f.read(nil, strings.Fields(names)...)
		if err == nil {
			t.Errorf("%s: no mistake, but %s", names, got)
			continue
		}
		for want := range strings.Lines(wants) {
			if !strings.Contains(err.Error(), strings.TrimSpace(want)) {
				t.Errorf("%s: got\n%v\nwant\n%s", names, err, want)
			}
		}
	}
	if _, err := f.read([]string{"q"}, "profile.yaml"); err == nil ||
		!strings.Contains(err.Error(), `no profile "q" in profile.yaml`) {
		t.Errorf("got %v", err)
	}
}

// compiled returns the schema of the test's keys as a library for schemas understands it.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema(testKeys))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaAgreesWithTheReader: an editor that uses the schema and this package accept the same files.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	t.Parallel()
	s := compiled(t)
	for text, want := range map[string]bool{
		"image: x\nsize: 1G\nsudo: yes\npackage: [a, b]\n":                                      true,
		"package: a\nrun: [1, yes]\nlog-keep: 3\nlog-level: info\nsize: 1000\nsudo: false\n":    true,
		"images: {web: {include: [a.yaml], image: x}, db: }\n":                                  true,
		"include: a.yaml\nprofiles: {p: {include: a.yaml, images: {w: {}}}}\nimages: {w: {}}\n": true,
		"x-anything: {a: [1]}\n":          true,
		"imgae: x\n":                      false,
		"images: {w: {imgae: x}}\n":       false,
		"images: {w: {images: {}}}\n":     false,
		"images: {w: {x-a: 1}}\n":         false,
		"images: {a b: {}}\n":             false,
		"images: [w]\n":                   false,
		"image: [a, b]\n":                 false,
		"package: {a: b}\n":               false,
		"package: [[a]]\n":                false,
		"profiles: {p: {profiles: {}}}\n": false,
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(value); (err == nil) != want {
			t.Errorf("the schema: %s: %v", text, err)
		}
		_, err := files{"x.yaml": text, "a.yaml": ""}.read(nil, "x.yaml")
		if (err == nil) != want {
			t.Errorf("the reader: %s: %v", text, err)
		}
	}
}

// FuzzRead: any file is read, or has mistakes with its name; and what the schema accepts has no unknown keys.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"image: x\n", "include: [x.yaml]\n", "images: {a: {package: [b]}, c: }\n", "profiles: {p: {images: {a: {}}}}\n",
		"x-a: &a {sudo: yes}\nimages: {b: {<<: *a}}\n", "x-a: &a {<<: *a}\n", "config: {image: x}\n", "<<: [[[{size: 1}]]]\n",
		"? [a]\n: b\n", "--- 1\n--- 2\n", "image: !!binary aGk=\n", "a: &a [*a]\n", "images: &i {a: *i}\n",
	} {
		f.Add([]byte(seed))
	}
	s := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := files{"x.yaml": string(data)}.reader().Read([]string{"x.yaml"}, nil)
		if err != nil && !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("a mistake without the name of the file: %v", err)
		}
		if err == nil && len(images) == 0 {
			t.Error("neither images nor mistakes")
		}
		var value any
		if yaml.Unmarshal(data, &value) == nil && err != nil && strings.Contains(err.Error(), "unknown key") &&
			value != nil && s.Validate(value) == nil {
			t.Errorf("%s: the schema accepts it, the reader: %v", data, err)
		}
	})
}
