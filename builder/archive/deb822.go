// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bufio"
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

// maxField limits one value. The longest field of Debian's archive is the list of checksums in a Release file,
// some hundred kilobytes.
const maxField = 64 << 20

// ReadStanzas reads a whole control file. It skips comment lines (with # in the first column), inside a stanza too. Its
// errors name the line.
func ReadStanzas(r io.Reader) ([]Stanza, error) {
	d := newStanzaReader(r)
	var all []Stanza
	for {
		s := Stanza{}
		err := d.next(func(name, value []byte) error {
			key := strings.ToLower(string(name))
			if _, twice := s[key]; twice {
				return fmt.Errorf("duplicate field %q", name)
			}
			s[key] = string(value)
			return nil
		})
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
}

// stanzaReader is the parser for all control files. It returns each field of a stanza in buffers that it
// reuses, so that reading an index allocates only what the caller keeps.
type stanzaReader struct {
	r     *bufio.Reader
	line  int    // number of the last line read, from 1
	long  []byte // a line longer than r's buffer
	name  []byte
	value []byte
}

func newStanzaReader(r io.Reader) *stanzaReader {
	return &stanzaReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next calls field for each field of the next stanza, in the order of the file. name and value are only valid
// during the call. The error is io.EOF after the last stanza.
func (d *stanzaReader) next(field func(name, value []byte) error) error {
	started, open := false, false
	finish := func() error {
		if !open {
			return nil
		}
		open = false
		if err := field(d.name, trimEnd(d.value)); err != nil {
			return fmt.Errorf("line %d: %w", d.line, err)
		}
		return nil
	}
	for {
		line, err := d.readLine()
		if errors.Is(err, io.EOF) {
			if !started {
				return io.EOF
			}
			return finish()
		}
		if err != nil {
			return err
		}
		switch {
		case len(trimBegin(line)) == 0:
			if started {
				return finish()
			}
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if !open {
				return fmt.Errorf("line %d: a continuation line without a field before it", d.line)
			}
			if len(d.value)+len(line) > maxField {
				return fmt.Errorf("line %d: field %q is longer than %d bytes", d.line, d.name, maxField)
			}
			d.value = append(d.value, '\n')
			d.value = append(d.value, line[1:]...)
		default:
			started = true
			if err := finish(); err != nil {
				return err
			}
			colon := bytes.IndexByte(line, ':')
			if colon <= 0 || bytes.IndexByte(line[:colon], ' ') >= 0 {
				return fmt.Errorf("line %d: %q is not a field of the form \"Name: value\"", d.line, clip(line))
			}
			open = true
			d.name = append(d.name[:0], line[:colon]...)
			d.value = append(d.value[:0], trimBegin(line[colon+1:])...)
		}
	}
}

// readLine returns the next line without its end; the slice is valid until the next call.
func (d *stanzaReader) readLine() ([]byte, error) {
	line, err := d.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		d.long = d.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if d.long = append(d.long, line...); len(d.long) > maxField {
				return nil, fmt.Errorf("line %d: longer than %d bytes", d.line+1, maxField)
			}
			line, err = d.r.ReadSlice('\n')
		}
		d.long = append(d.long, line...)
		line = d.long
	}
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return nil, err
	}
	d.line++
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
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
