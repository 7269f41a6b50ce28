// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Source is a source of packages that a user names.
type Source struct {
	URIs, Suites, Components []string
	// SignedBy are names of files with keys.
	SignedBy []string
}

// ParseSource reads a source: a line of sources.list(5), in which "deb" may be left out, or a stanza in the format
// deb822. Of the options and fields only those of Source are understood; any other is an error, because the source
// would mean something else without it. Flat repositories are not supported.
func ParseSource(text string) (Source, error) {
	var s Source
	var err error
	if strings.Contains(text, "URIs:") {
		s, err = parseStanza(text)
	} else {
		s, err = parseLine(text)
	}
	switch {
	case err != nil:
		return Source{}, err
	case slices.ContainsFunc(s.Suites, func(suite string) bool { return strings.HasSuffix(suite, "/") }):
		return Source{}, errors.New("repositories without suites are not supported")
	case len(s.URIs) == 0 || len(s.Suites) == 0 || len(s.Components) == 0:
		return Source{}, errors.New("it is not of the form URL SUITE COMPONENT…")
	}
	for _, suite := range s.Suites {
		if !validSuite(suite) {
			return Source{}, fmt.Errorf("%q is not a suite name", suite)
		}
	}
	for _, component := range s.Components {
		if !validSuite(component) {
			return Source{}, fmt.Errorf("%q is not a component", component)
		}
	}
	return s, nil
}

// parseLine reads "[deb] [[signed-by=FILE]] URI SUITE COMPONENT…".
func parseLine(text string) (Source, error) {
	var s Source
	text = strings.Join(strings.Fields(text), " ")
	text = strings.TrimPrefix(text, "deb ")
	if strings.HasPrefix(text, "[") {
		options, rest, ok := strings.Cut(text[1:], "]")
		if !ok {
			return Source{}, errors.New("its options lack a ]")
		}
		for option := range strings.FieldsSeq(options) {
			files, ok := strings.CutPrefix(option, "signed-by=")
			if !ok {
				return Source{}, fmt.Errorf("the option %q is not supported", option)
			}
			s.SignedBy = strings.Split(files, ",")
		}
		text = rest
	}
	fields := strings.Fields(text)
	const least = 2 // what follows are components
	if len(fields) > least {
		s.URIs, s.Suites, s.Components = fields[:1], fields[1:least], fields[least:]
	}
	return s, nil
}

// parseStanza reads a stanza.
func parseStanza(text string) (Source, error) {
	stanzas, err := ReadStanzas(strings.NewReader(text))
	if err != nil {
		return Source{}, err
	}
	if len(stanzas) != 1 {
		return Source{}, fmt.Errorf("%d stanzas instead of one", len(stanzas))
	}
	stanza := stanzas[0]
	for name := range stanza {
		if !slices.Contains([]string{"types", "uris", "suites", "components", "signed-by"}, name) {
			return Source{}, fmt.Errorf("the field %q is not supported", name)
		}
	}
	if types := stanza.Get("Types"); types != "" && types != "deb" {
		return Source{}, fmt.Errorf("types %q are not deb", types)
	}
	signedBy := stanza.Get("Signed-By")
	if strings.Contains(signedBy, "-----BEGIN") {
		return Source{}, errors.New("signed-by has a key: name a file with it")
	}
	s := Source{URIs: strings.Fields(stanza.Get("URIs")), Suites: strings.Fields(stanza.Get("Suites")),
		Components: strings.Fields(stanza.Get("Components"))}
	if signedBy != "" {
		s.SignedBy = strings.Fields(signedBy)
	}
	return s, nil
}
