// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

const (
	// blockSize is the size of a text that a processor parses at a time.
	blockSize = 1 << 20
	// maxStanza limits one stanza. The longest of Debian's archive has some ten kilobytes.
	maxStanza = 64 << 20
)

// packageReader reads a Packages file that is written to it. All processors parse blocks of whole stanzas while the
// writer goes on to compute the digest of the text or to decompress it. The packages of a text must not be used before
// its digest is checked.
type packageReader struct {
	text     []byte // not yet given to a parser
	searched int    // this much of it has no blank line
	block    int    // the least size of a block
	blocks   []*packageBlock
	idle     chan *packageParser
	busy     sync.WaitGroup
}

// packageBlock is what a parser has found in one block.
type packageBlock struct {
	packages []*Package
	lines    int // that were parsed
	err      error
}

// newPackageReader returns a reader of packages that are below the URL mirror.
func newPackageReader(mirror string) *packageReader {
	r := &packageReader{block: blockSize, idle: make(chan *packageParser, runtime.GOMAXPROCS(0))}
	for range cap(r.idle) {
		r.idle <- &packageParser{mirror: mirror, shared: map[string]string{}}
	}
	return r
}

// Write implements io.Writer.
func (r *packageReader) Write(p []byte) (int, error) {
	for part := range slices.Chunk(p, r.block) {
		if r.text = append(r.text, part...); len(r.text) < max(r.block, 2*r.searched) {
			continue
		}
		if end := lastBlankLine(r.text); end > 0 {
			r.parse(end)
		} else if r.searched = len(r.text); r.searched > maxStanza {
			return 0, fmt.Errorf("a stanza is longer than %d bytes", maxStanza)
		}
	}
	return len(p), nil
}

// lastBlankLine returns where the last blank line of a text ends; 0 if there is none.
func lastBlankLine(text []byte) int {
	for end := bytes.LastIndexByte(text, '\n'); end >= 0; {
		begin := bytes.LastIndexByte(text[:end], '\n') + 1
		if isBlank(withoutCR(text[begin:end])) {
			return end + 1
		}
		end = begin - 1
	}
	return 0
}

// parse has a parser read the first bytes of the text, when one is idle.
func (r *packageReader) parse(size int) {
	parser, b := <-r.idle, &packageBlock{}
	// The two exchange their buffers.
	parser.text, r.text = r.text[:size], append(parser.text[:0], r.text[size:]...)
	r.blocks, r.searched = append(r.blocks, b), 0
	r.busy.Go(func() {
		b.err = guard.Parse(func() (err error) {
			b.packages, b.lines, err = parser.parse()
			return err
		})
		r.idle <- parser
	})
}

// packages returns the packages of the whole text.
func (r *packageReader) packages() ([]*Package, error) {
	r.parse(len(r.text))
	r.busy.Wait()
	var all []*Package
	lines := 0
	for _, b := range r.blocks {
		lines += b.lines
		if b.err != nil {
			return nil, fmt.Errorf("line %d: %w", lines, b.err)
		}
		all = append(all, b.packages...)
	}
	return all, nil
}

// packageParser parses blocks of a Packages file. The values of many packages share one allocation, and so do values
// that repeat from package to package: 69000 packages take 30 MB instead of the 57 MB of the text.
type packageParser struct {
	text   []byte // the block
	mirror string
	unused []Package       // allocated many at a time
	names  strings.Builder // apart from other values: sorted packages are compared by these alone
	values strings.Builder
	shared map[string]string
}

// parse returns the packages of the block and the number of lines that it has parsed.
func (r *packageParser) parse() ([]*Package, int, error) {
	const allocated = 64
	var packages []*Package
	d := stanzaParser{text: r.text}
	for d.nextStanza() {
		if len(r.unused) == 0 {
			r.unused = make([]Package, allocated)
		}
		p := &r.unused[0]
		r.unused = r.unused[1:]
		if err := r.readPackage(p, &d); err != nil {
			return nil, d.line, err
		}
		packages = append(packages, p)
	}
	return packages, d.line, d.err
}

// readPackage sets the fields of a package to those of a stanza.
func (r *packageParser) readPackage(p *Package, d *stanzaParser) (err error) {
	for d.nextField() {
		switch string(d.name) {
		case "Package":
			p.Name = keep(&r.names, d.value())
		case "Version":
			p.Version = keep(&r.values, d.value())
		case "Architecture":
			p.Architecture = r.share(d.value())
		case "Priority":
			p.Priority = r.share(d.value())
		case "Section":
			p.Section = r.share(d.value())
		case "Multi-Arch":
			p.MultiArch = r.share(d.value())
		case "Pre-Depends":
			p.PreDepends = keep(&r.values, d.value())
		case "Depends":
			p.Depends = keep(&r.values, d.value())
		case "Recommends":
			p.Recommends = keep(&r.values, d.value())
		case "Provides":
			p.Provides = keep(&r.values, d.value())
		case "Filename":
			p.Filename = keep(&r.values, bytes.TrimPrefix(d.value(), []byte("./")))
		case "SHA256":
			p.SHA256 = lowerHex(keep(&r.values, d.value()))
		case "Essential":
			p.Essential = string(d.value()) == "yes"
		case "Size":
			p.Size, err = d.number()
		case "Installed-Size":
			p.InstalledSize, err = d.number()
		}
		if err != nil {
			return err
		}
	}
	if d.err != nil {
		return d.err
	}
	if p.Name == "" || p.Version == "" {
		return errors.New("a stanza without Package or Version")
	}
	p.Mirror = r.mirror
	if err := p.checkNames(); err != nil {
		return fmt.Errorf("the stanza before it: %w", err)
	}
	return nil
}

// number returns the value of the field as a number.
func (d *stanzaParser) number() (int64, error) {
	value := d.value()
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", d.name, clip(value))
	}
	return n, nil
}

// lowerHex returns a hexadecimal number in lower case. Most are already, which strings.ToLower takes several times as
// long to find out: a tenth of the time for an index.
func lowerHex(digits string) string {
	const lower = 'a' - 'A' // a bit that decimal digits have too
	all := byte(lower)
	for i := range len(digits) {
		all &= digits[i]
	}
	if all == lower {
		return digits
	}
	return strings.ToLower(digits)
}

// keep returns a copy of a value, in memory that it shares with others.
func keep(values *strings.Builder, value []byte) string {
	const allocated = 64 << 10
	if values.Cap()-values.Len() < len(value) {
		values.Reset()
		values.Grow(max(len(value), allocated))
	}
	begin := values.Len()
	values.Write(value)
	return values.String()[begin:]
}

// share returns the copy of a value that all packages share.
func (r *packageParser) share(value []byte) string {
	s, ok := r.shared[string(value)]
	if !ok {
		s = string(value)
		r.shared[s] = s
	}
	return s
}
