// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
)

// GNU tar stores sparse files in four ways ("Sparse Formats" in its manual): entries in the header
// and in the blocks after it ("old"), pairs of records (0.0), one record (0.1), or text at the
// start of the content (1.0).

// Pax records of sparse files.
const (
	sparseMajor    = "GNU.sparse.major" // 1.0 only
	sparseName     = "GNU.sparse.name"
	sparseSize     = "GNU.sparse.size"
	sparseRealSize = "GNU.sparse.realsize"
	sparseCount    = "GNU.sparse.numblocks"
	sparseOffset   = "GNU.sparse.offset"
	sparseLength   = "GNU.sparse.numbytes"
	sparseMap      = "GNU.sparse.map"
)

const (
	tarSparseEntry    = 24 // two octal numbers in a header
	tarSparseEntries  = 21 // in a block after the header
	tarSparseContinue = tarSparseEntries * tarSparseEntry
)

// tarPart is a part of a sparse file: Length bytes at Offset of the file, which are at data in the
// archive.
type tarPart struct {
	Extent
	data int64
}

// oldSparse reads the map of a member of type S. Blocks with the rest of the map precede the
// content.
func (r *tarReader) oldSparse(m *tarMember, block []byte) error {
	var err error
	if m.size, err = tarRealSize.number(block); err != nil {
		return err
	}
	var numbers []int64
	entries, more := bytes.Clone(tarSparse.of(block)), tarExtended.of(block)[0]
	for {
		for entry := range slices.Chunk(entries, tarSparseEntry) {
			if entry[0] == 0 {
				break
			}
			for _, f := range []tarField{{0, tarSparseEntry / 2}, {tarSparseEntry / 2, tarSparseEntry / 2}} {
				n, err := f.number(entry)
				if err != nil {
					return err
				}
				numbers = append(numbers, n)
			}
		}
		if more == 0 {
			m.holes = true
			return m.setParts(numbers)
		}
		next, err := r.bytes(r.next, tarBlock)
		if err != nil {
			return err
		}
		r.next += tarBlock
		entries, more = bytes.Clone(next[:tarSparseContinue]), next[tarSparseContinue]
	}
}

// paxSparse applies the records of a sparse file, if there are any, and locates the parts of every
// sparse file.
func (r *tarReader) paxSparse(m *tarMember, records map[string]string, extra paxExtras) error {
	if name := records[sparseName]; name != "" {
		m.name = name
	}
	for _, key := range []string{sparseSize, sparseRealSize} {
		if value := records[key]; value != "" {
			var err error
			if m.size, err = decimal(key, value); err != nil {
				return err
			}
			m.holes = true
		}
	}
	if m.kind == typeSparse || !m.holes {
		return m.placeParts()
	}
	texts := []string{}
	switch {
	case records[sparseMajor] == "1":
		var err error
		if texts, err = r.sparseText(m); err != nil {
			return err
		}
	case records[sparseMap] != "":
		texts = strings.Split(records[sparseMap], ",")
	case records[sparseCount] != "" && len(extra.offsets) == len(extra.lengths):
		for i := range extra.offsets {
			texts = append(texts, extra.offsets[i], extra.lengths[i])
		}
	default:
		return fmt.Errorf("sparse file of version %q is not supported", records[sparseMajor])
	}
	numbers := make([]int64, len(texts))
	for i, text := range texts {
		var err error
		if numbers[i], err = decimal(sparseMap, text); err != nil {
			return err
		}
	}
	if err := m.setParts(numbers); err != nil {
		return err
	}
	return m.placeParts()
}

// sparseText reads the map at the start of the content: the number of entries and then two numbers
// for each, one per line, padded to a whole block.
func (r *tarReader) sparseText(m *tarMember) ([]string, error) {
	var text []byte
	count := int64(-1)
	for lines := 0; count < 0 || int64(lines) < 1+2*count; lines = bytes.Count(text, []byte("\n")) {
		if count < 0 && lines > 0 {
			first, _, _ := bytes.Cut(text, []byte("\n"))
			var err error
			if count, err = decimal(sparseCount, string(first)); err != nil {
				return nil, err
			}
			if count < 0 || count > m.stored {
				return nil, fmt.Errorf("map of a sparse file has %d entries", count)
			}
			continue
		}
		if int64(len(text))+tarBlock > roundUpTar(m.stored) {
			return nil, fmt.Errorf("map of a sparse file: %w", io.ErrUnexpectedEOF)
		}
		block, err := r.bytes(m.data+int64(len(text)), tarBlock)
		if err != nil {
			return nil, err
		}
		text = append(text, block...)
	}
	m.data += int64(len(text))
	m.stored = max(0, m.stored-int64(len(text)))
	return strings.Split(string(text), "\n")[1:][:2*count], nil
}

// setParts sets the map: offset and length of each part.
func (m *tarMember) setParts(numbers []int64) error {
	end := int64(0)
	for pair := range slices.Chunk(numbers, 2) {
		if len(pair) < 2 || pair[0] < end || pair[1] < 0 || pair[1] > m.size-pair[0] {
			return fmt.Errorf("map of a sparse file of %d bytes: %v is out of order or out of range", m.size, pair)
		}
		end = pair[0] + pair[1]
		if pair[1] > 0 { // GNU tar's last one only marks the end
			m.parts = append(m.parts, tarPart{Extent: Extent{pair[0], pair[1]}})
		}
	}
	return nil
}

// placeParts computes the offsets of the parts in the archive, where they are adjacent.
func (m *tarMember) placeParts() error {
	if !m.holes {
		return nil
	}
	place := m.data
	for i := range m.parts {
		m.parts[i].data = place
		place += m.parts[i].Length
	}
	if place-m.data > m.stored {
		return fmt.Errorf("map of a sparse file has %d bytes of data, the archive %d", place-m.data, m.stored)
	}
	return nil
}

// extents returns the parts in the form of an Entry: never nil, because nil means that there are no
// holes.
func (m *tarMember) extents() []Extent {
	data := make([]Extent, len(m.parts))
	for i, p := range m.parts {
		data[i] = p.Extent
	}
	return data
}

// sparseContent reads a sparse file. Bytes outside all parts are zeros.
type sparseContent struct {
	archive io.ReaderAt
	size    int64
	parts   []tarPart
}

// ReadAt implements io.ReaderAt.
func (c sparseContent) ReadAt(b []byte, offset int64) (int, error) {
	whole := len(b)
	b = b[:max(0, min(int64(whole), c.size-offset))]
	clear(b)
	end := offset + int64(len(b))
	first := sort.Search(len(c.parts), func(i int) bool { return c.parts[i].Offset+c.parts[i].Length > offset })
	for _, p := range c.parts[first:] {
		if p.Offset >= end {
			break
		}
		from, to := max(p.Offset, offset), min(p.Offset+p.Length, end)
		if n, err := c.archive.ReadAt(b[from-offset:to-offset], p.data+from-p.Offset); int64(n) < to-from {
			return int(from-offset) + n, err
		}
	}
	if len(b) < whole {
		return len(b), io.EOF
	}
	return len(b), nil
}

// Close implements io.Closer.
func (sparseContent) Close() error { return nil }
