// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	t.Parallel()
	plain := Source{URIs: []string{"http://m.example/apt"}, Suites: []string{"trixie"},
		Components: []string{"main", "extra"}}
	signed := plain
	signed.SignedBy = []string{"/keys/a.asc"}
	two := signed
	two.URIs, two.Suites = []string{"http://m.example/apt", "file:/srv/apt"}, []string{"trixie", "trixie/updates"}
	for text, want := range map[string]Source{
		"http://m.example/apt trixie main extra":                             plain,
		" deb\thttp://m.example/apt trixie  main extra\n":                    plain,
		"deb [signed-by=/keys/a.asc] http://m.example/apt trixie main extra": signed,
		"[ signed-by=/keys/a.asc ] http://m.example/apt trixie main extra":   signed,
		"Types: deb\nURIs: http://m.example/apt\n file:/srv/apt\nSuites: trixie trixie/updates\nComponents: main extra\n" +
			"Signed-By: /keys/a.asc\n": two,
		"URIs: http://m.example/apt\nSuites: trixie\nComponents: main extra": plain,
	} {
		if got, err := ParseSource(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"http://m.example/apt trixie":                                             "not of the form URL SUITE COMPONENT",
		"http://m.example/apt ./":                                                 "not of the form",
		"http://m.example/apt ./ main":                                            "without suites",
		"deb [trusted=yes] http://m.example/apt trixie main":                      `"trusted=yes" is not supported`,
		"deb [signed-by=/a http://m.example/apt trixie main":                      "lack a ]",
		"http://m.example/apt ../up main":                                         `"../up" is not a suite name`,
		"http://m.example/apt trixie ../up":                                       `"../up" is not a component`,
		"Types: deb-src\nURIs: http://m.example/apt\nSuites: a\nComponents: b":    `types "deb-src"`,
		"URIs: http://m.example/apt\nSuites: a\nComponents: b\nTrusted: yes":      `"trusted" is not supported`,
		"URIs: http://m\nSuites: a\nComponents: b\nSigned-By:\n -----BEGIN PGP X": "name a file",
		"URIs: http://m\nSuites: a\nComponents: b\n\nURIs: http://m\nSuites: a\n": "2 stanzas",
		"": "not of the form",
	} {
		if _, err := ParseSource(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
