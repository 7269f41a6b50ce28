// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadStanzas(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200_000)
	tests := []struct {
		name, text string
		want       []Stanza
		err        string
	}{
		{name: "nothing", text: "\n \n# only a comment\n"},
		{name: "two with comments inside", text: "\n\nA: 1\n# a comment\nB:2 \n\n\n#\nA: 3",
			want: []Stanza{{"a": "1", "b": "2"}, {"a": "3"}}},
		{name: "continuation", text: "Text: first\n second\n# comment\n .\n\tthird  \nEmpty:\nList:\n a\n b\n",
			want: []Stanza{{"text": "first\nsecond\n.\nthird", "empty": "", "list": "\na\nb"}}},
		{name: "line ends of DOS", text: "A: 1\r\nB: 2\r\n\r\nC: 3\r\n",
			want: []Stanza{{"a": "1", "b": "2"}, {"c": "3"}}},
		{name: "blank line of blanks", text: "A: 1\n \t \nB: 2\n", want: []Stanza{{"a": "1"}, {"b": "2"}}},
		{name: "long line", text: "A: " + long + "\n b" + long + "\n", want: []Stanza{{"a": long + "\nb" + long}}},
		{name: "no field", text: "A: 1\nnonsense\n", err: "line 2"},
		{name: "continuation first", text: "\n a\n", err: "line 2"},
		{name: "field twice", text: "A: 1\na: 2\n", err: "duplicate"},
		{name: "name with a blank", text: "A b: 1\n", err: "line 1"},
		{name: "no name", text: ": 1\n", err: "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadStanzas(strings.NewReader(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %.200v, %v\nwant %.200v", got, err, tt.want)
			}
		})
	}
}

func TestGetIgnoresCaseOfFieldName(t *testing.T) {
	t.Parallel()
	if got := (Stanza{"valid-until": "x"}).Get("Valid-Until"); got != "x" {
		t.Errorf("got %q", got)
	}
}

func FuzzReadStanzas(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nDescription: b\n c\n\n# x\nPackage: d\n")
	f.Fuzz(func(t *testing.T, text string) {
		stanzas, err := ReadStanzas(strings.NewReader(text))
		if err != nil {
			return
		}
		// What was read can be written and read again, except lines that become blank or comments.
		var b strings.Builder
		for _, s := range stanzas {
			for name, value := range s {
				b.WriteString(name + ": " + strings.ReplaceAll(value, "\n", "\n ") + "\n")
			}
			b.WriteString("\n")
		}
		again, err := ReadStanzas(strings.NewReader(b.String()))
		if err != nil || len(again) < len(stanzas) {
			t.Errorf("%q: read %d stanzas, after writing them %d, %v", text, len(stanzas), len(again), err)
		}
	})
}
