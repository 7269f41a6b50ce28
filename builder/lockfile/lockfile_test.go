// SPDX-License-Identifier: Apache-2.0

package lockfile

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// example is a lock with something in each field.
func example() File {
	digest := strings.Repeat("0a", 32)
	return File{
		Schema: Schema, Program: "vmdebootstrap 1.8.0", Made: time.Unix(1_750_000_000, 0).UTC(),
		Time: time.Unix(1_700_000_000, 0).UTC(), Seed: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11"),
		Settings: []Setting{{"image", "debian.img"}, {"size", "2000000000"}, {"hostname", "no"}, {"customize", "./a b: #c"}},
		Hidden:   []string{"root-password"},
		Suites: []Suite{{Use: []string{UseImage, UseTools}, Mirror: "http://mirror.example/debian", Suite: "trixie",
			Codename: "trixie", Date: time.Unix(1_740_000_000, 0).UTC(), Files: []Digest{{"InRelease", digest}},
			SignedBy: []string{"ABCD"}}},
		Inputs: []Input{{"--customize", "a b: #c", digest}},
		Tools:  []Package{{"wget", "1.0", "amd64", digest, "http://mirror.example/debian/pool/w.deb"}},
		Packages: []Package{{"less", "1:2~3+b1", "amd64", digest, "http://mirror.example/debian/pool/l.deb"},
			{Name: "own", Version: "1.0", Architecture: "all"}},
	}
}

func written(t testing.TB, f File) string {
	t.Helper()
	var text bytes.Buffer
	if err := f.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestLockIsReadBack(t *testing.T) {
	t.Parallel()
	text := written(t, example())
	got, err := Read(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("%v: got %+v\nwant %+v\nof %s", err, got, example(), text)
	}
}

func TestEachPackageHasALine(t *testing.T) {
	t.Parallel()
	text := written(t, example())
	want := "  - {name: less, version: '1:2~3+b1', arch: amd64, sha256: " + strings.Repeat("0a", 32) +
		", from: 'http://mirror.example/debian/pool/l.deb'}\n"
	if !strings.Contains(text, want) {
		t.Errorf("got %s\nwant %q in it", text, want)
	}
}

func TestOtherLocksAreErrors(t *testing.T) {
	t.Parallel()
	good := written(t, example())
	_, err := Read(strings.NewReader("schema: 99\nunknown: x\nprogram: vmdebootstrap 9\n"))
	if other, ok := errors.AsType[*SchemaError](err); !ok || *other != (SchemaError{99, "vmdebootstrap 9"}) {
		t.Errorf("schema 99: got %v", err)
	}
	for name, tt := range map[string]struct{ old, now, want string }{
		"another file":      {good, "config:\n  image: x\n", "no lock"},
		"empty":             {good, "", "no lock"},
		"cut":               {good[len(good)/2:], "", "damaged"},
		"unknown key":       {"program:", "programm:", "damaged: "},
		"no time":           {"time: 2023-11-14T22:13:20Z\n", "", "time or seed is missing"},
		"no digest":         {"0a0a", "0a0x", "is not one"},
		"capital digest":    {"0a0a", "0A0A", "is not one"},
		"path for a file":   {"name: InRelease", "name: ../InRelease", "is not one"},
		"no suite":          {"use: [image, tools]", "use: [tools]", "suite of the image"},
		"no version":        {"version: '1:2~3+b1'", "version: ''", "no version"},
		"two documents":     {"schema: 1", "schema: 1\n---\nschema: 1", ""},
		"setting with more": {"- image: debian.img", "- {image: a, size: b}", "a name and a value"},
	} {
		text := strings.Replace(good, tt.old, tt.now, 1)
		if text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		_, err := Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", name, err, tt.want)
		}
		if _, ok := errors.AsType[*DamagedError](err); !ok {
			t.Errorf("%s: got %T", name, err)
		}
	}
}

func FuzzLock(f *testing.F) {
	good := written(f, example())
	for _, seed := range []string{good, "", "schema: 1\n", "schema: 1\nsuites: [{}]\n", "a: &a [*a]\n",
		strings.ReplaceAll(good, "0a", "zz")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := Read(bytes.NewReader(data))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of two lines: %v", err)
			}
			return
		}
		var text bytes.Buffer
		if err := lock.Write(&text); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&text); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}
