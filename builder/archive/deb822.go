// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Stanza is one paragraph of a control file in the format of deb822(5). The keys are field names in lower case, since
// case does not matter in them. The lines of a value are joined by "\n", each without its leading blank; a line of
// "." stays.
type Stanza map[string]string

// Get returns the value of a field, whatever the case of its name; "" if it is absent.
func (s Stanza) Get(name string) string { return s[strings.ToLower(name)] }

// ReadStanzas reads a whole control file. It skips comment lines (with # in the first column), inside a stanza too. Its
// errors name the line.
func ReadStanzas(r io.Reader) ([]Stanza, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	d := stanzaParser{text: text}
	var all []Stanza
	for d.nextStanza() {
		stanza := Stanza{}
		for d.nextField() {
			key := strings.ToLower(string(d.name))
			if _, twice := stanza[key]; twice {
				return nil, fmt.Errorf("line %d: duplicate field %q", d.line, d.name)
			}
			stanza[key] = string(d.value())
		}
		if d.err != nil {
			break
		}
		all = append(all, stanza)
	}
	if d.err != nil {
		return nil, fmt.Errorf("line %d: %w", d.line, d.err)
	}
	return all, nil
}

// stanzaParser is the parser for all control files. What it returns are parts of the text, so that reading an index
// allocates only what the caller keeps.
type stanzaParser struct {
	text []byte // not yet parsed
	line int    // number of the last line parsed, from 1
	err  error

	// The field that nextField has found: its name, what follows the colon, and the continuation lines with comments
	// between them.
	name, first, more []byte
}

// nextStanza goes to the next stanza, and reports whether there is one.
func (d *stanzaParser) nextStanza() bool {
	for len(d.text) > 0 && d.err == nil {
		text, number := d.text, d.line
		if line := d.nextLine(); !isBlank(line) && line[0] != '#' {
			d.text, d.line = text, number
			return true
		}
	}
	return false
}

// nextField goes to the next field of the stanza, and reports whether there is one. If not, err is set if the stanza is
// not valid.
func (d *stanzaParser) nextField() bool {
	for len(d.text) > 0 {
		line := d.nextLine()
		if isBlank(line) {
			return false
		}
		switch line[0] {
		case '#':
			continue
		case ' ', '\t':
			d.err = errors.New("a continuation line without a field before it")
			return false
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || bytes.IndexByte(line[:colon], ' ') >= 0 {
			d.err = fmt.Errorf("%q is not a field of the form \"Name: value\"", clip(line))
			return false
		}
		d.name, d.first, d.more = line[:colon], line[colon+1:], d.continuation()
		return true
	}
	return false
}

// continuation returns the next lines up to the last one that begins with a blank and has more than that.
func (d *stanzaParser) continuation() []byte {
	begin, size := d.text, 0
	for len(d.text) > 0 && (d.text[0] == ' ' || d.text[0] == '\t' || d.text[0] == '#') {
		text, number := d.text, d.line
		line := d.nextLine()
		if isBlank(line) { // the end of the stanza
			d.text, d.line = text, number
			break
		}
		if line[0] != '#' {
			size = len(begin) - len(d.text)
		}
	}
	return begin[:size]
}

// nextLine returns the next line without its end.
func (d *stanzaParser) nextLine() []byte {
	d.line++
	line := d.text
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line, d.text = line[:end], line[end+1:]
	} else {
		d.text = nil
	}
	return withoutCR(line)
}

func withoutCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// isBlank reports whether a line ends a stanza.
func isBlank(line []byte) bool { return len(trimBegin(line)) == 0 }

// value returns the lines of the field without comments, and without the first blank of each continuation line. The
// value of one line is a part of the text.
func (d *stanzaParser) value() []byte {
	value := trimBegin(d.first)
	if len(d.more) == 0 {
		return trimEnd(value)
	}
	value = bytes.Clone(value)
	for line := range bytes.SplitSeq(d.more, []byte("\n")) {
		if line = withoutCR(line); len(line) > 0 && line[0] != '#' {
			value = append(append(value, '\n'), line[1:]...)
		}
	}
	return trimEnd(value)
}

// trimBegin cuts leading blanks. The character sets of bytes.TrimLeft would add a tenth to the time for an index.
func trimBegin(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// trimEnd cuts trailing blanks and line ends.
func trimEnd(b []byte) []byte {
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t' || b[n-1] == '\n'); n-- {
		b = b[:n-1]
	}
	return b
}

// clip shortens text for an error.
func clip(b []byte) []byte {
	const most = 60
	if len(b) > most {
		return b[:most]
	}
	return b
}
