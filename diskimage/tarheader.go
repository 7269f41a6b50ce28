// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// The format of tar archives is described in pax(1) of POSIX.1-2017 ("ustar Interchange Format",
// "pax Header Block"), and in the chapter "Basic Tar Format" of GNU tar's manual. Package
// archive/tar is not suitable: it reports neither the offset of a member's content nor the holes of
// a sparse file, and it reads one block at a time.

// tarBlock is the unit of an archive.
const tarBlock = 512

// tarField is the position of a field in a header block.
type tarField struct{ offset, length int }

// The fields of a header block, of all formats together.
var (
	tarName     = tarField{0, 100}
	tarMode     = tarField{100, 8}
	tarUID      = tarField{108, 8}
	tarGID      = tarField{116, 8}
	tarSize     = tarField{124, 12}
	tarModTime  = tarField{136, 12}
	tarChecksum = tarField{148, 8}
	tarLinkname = tarField{157, 100}
	tarMagic    = tarField{257, 6}
	tarMajor    = tarField{329, 8}
	tarMinor    = tarField{337, 8}
	tarPrefix   = tarField{345, 155} // ustar only
	tarSparse   = tarField{386, 4 * tarSparseEntry}
	tarExtended = tarField{482, 1} // GNU: blocks with the rest of a sparse file's map follow
	tarRealSize = tarField{483, 12}
	tarTrailer  = tarField{508, 4} // star, whose prefix is shorter
)

const (
	tarType       = 156         // offset of the type flag
	starPrefix    = 131         // length
	magicUSTAR    = "ustar\x00" // the GNU format has a space instead of the zero byte
	magicStar     = "tar\x00"
	maxTarRecords = 1 << 20 // length of a pax header, or of a long name
)

// Type flags.
const (
	typeRegular    = '0'
	typeOldRegular = 0
	typeHardLink   = '1'
	typeSymlink    = '2'
	typeChar       = '3'
	typeBlock      = '4'
	typeDirectory  = '5'
	typeFifo       = '6'
	typeContiguous = '7'
	typePax        = 'x'
	typePaxGlobal  = 'g'
	typeLongName   = 'L'
	typeLongLink   = 'K'
	typeSparse     = 'S'
)

// errNoTarHeader reports that there is no header where one is expected.
var errNoTarHeader = errors.New("not a tar header")

// tarMember is the metadata of one member.
type tarMember struct {
	kind           byte
	name, linkname string
	mode           int64
	uid, gid       int64
	modTime        time.Time
	major, minor   int64
	size           int64 // of the content, including the holes of a sparse file
	xattrs         []Xattr
	stored         int64 // length of the content in the archive
	data           int64 // offset of the content in the archive
	holes          bool  // the file is sparse: parts is valid
	parts          []tarPart
}

// tarReader reads the headers of an archive.
type tarReader struct {
	archive io.ReaderAt
	size    int64
	next    int64  // offset of the next header
	buffer  []byte // the last read: the next header is often in it, too
	start   int64  // offset of buffer
	global  map[string]string
}

// tarBufferSize is the minimum length of a read: the headers of one member and often the next one.
const tarBufferSize = 4 << 10

// bytes returns a range of the archive. It is valid until the next call.
func (r *tarReader) bytes(offset, length int64) ([]byte, error) {
	if length > r.size-offset {
		return nil, fmt.Errorf("archive ends at byte %d, inside the part that begins at %d: %w", r.size, offset,
			io.ErrUnexpectedEOF)
	}
	if offset < r.start || offset+length > r.start+int64(len(r.buffer)) {
		want := min(max(length, tarBufferSize), r.size-offset)
		if int64(cap(r.buffer)) < want {
			r.buffer = make([]byte, want)
		}
		r.start, r.buffer = offset, r.buffer[:want]
		if n, err := r.archive.ReadAt(r.buffer, offset); int64(n) < want {
			r.buffer = r.buffer[:0]
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read at byte %d: %w", offset, err)
		}
	}
	return r.buffer[offset-r.start:][:length:length], nil
}

// header reads the next member with all its headers. It returns io.EOF at the end of the archive.
func (r *tarReader) header() (tarMember, error) {
	records := map[string]string{}
	var extra paxExtras
	var longName, longLink *string
	for {
		block, err := r.bytes(r.next, tarBlock)
		if err != nil {
			return tarMember{}, err
		}
		if block[0] == 0 && bytes.Count(block, []byte{0}) == tarBlock {
			return tarMember{}, io.EOF
		}
		if err := checkTarHeader(block); err != nil {
			return tarMember{}, err
		}
		kind := block[tarType]
		switch kind {
		case typePax, typePaxGlobal, typeLongName, typeLongLink:
		default:
			m, err := newTarMember(block)
			if longName != nil {
				m.name = *longName
			}
			if longLink != nil {
				m.linkname = *longLink
			}
			if err != nil {
				return m, err
			}
			return m, r.complete(&m, block, records, extra)
		}
		content, err := r.metadata(block)
		if err != nil {
			return tarMember{}, err
		}
		switch kind {
		case typePax:
			extra, err = parsePax(content, records)
		case typePaxGlobal:
			if r.global == nil {
				r.global = map[string]string{}
			}
			_, err = parsePax(content, r.global)
		case typeLongName:
			longName = untilNUL(content)
		case typeLongLink:
			longLink = untilNUL(content)
		}
		if err != nil {
			return tarMember{}, err
		}
	}
}

// another moves on from the zero blocks at the end of an archive to the header of one that follows,
// and reports whether there is one. Anything else there is ignored.
func (r *tarReader) another() (bool, error) {
	for r.size-r.next >= tarBlock {
		block, err := r.bytes(r.next, tarBlock)
		if err != nil {
			return false, err
		}
		if bytes.Count(block, []byte{0}) < tarBlock {
			r.global = nil
			return checkTarHeader(block) == nil, nil
		}
		r.next += tarBlock
	}
	return false, nil
}

// metadata returns the content of a header that describes the next member, and moves on to the
// header after it.
func (r *tarReader) metadata(block []byte) ([]byte, error) {
	size, err := tarSize.number(block)
	if err != nil || size < 0 || size > maxTarRecords {
		return nil, fmt.Errorf("header of type %q: length %d is out of range", block[tarType], size)
	}
	content, err := r.bytes(r.next+tarBlock, size)
	r.next += tarBlock + roundUpTar(size)
	return content, err
}

// complete applies the pax records and finds the content.
func (r *tarReader) complete(m *tarMember, block []byte, records map[string]string, extra paxExtras) error {
	r.next += tarBlock
	for key, value := range r.global {
		if _, ok := records[key]; !ok {
			records[key] = value
		}
	}
	if err := m.applyRecords(records); err != nil {
		return err
	}
	if m.stored < 0 {
		return fmt.Errorf("size %d is out of range", m.stored)
	}
	if m.kind == typeSparse {
		if err := r.oldSparse(m, block); err != nil {
			return err
		}
	}
	m.data = r.next
	if m.stored > r.size-r.next {
		return fmt.Errorf("archive ends inside its content: %w", io.ErrUnexpectedEOF)
	}
	r.next += roundUpTar(m.stored)
	return r.paxSparse(m, records, extra)
}

// roundUpTar returns the room that n bytes take in an archive.
func roundUpTar(n int64) int64 { return (n + tarBlock - 1) &^ (tarBlock - 1) }

// checkTarHeader verifies the checksum, which old programs computed from signed bytes.
func checkTarHeader(block []byte) error {
	want, err := tarChecksum.number(block)
	if err != nil {
		return errNoTarHeader
	}
	var sum, negative int64
	for _, b := range block {
		sum += int64(b)
		negative += int64(b >> 7)
	}
	for _, b := range tarChecksum.of(block) { // counted as spaces
		sum += ' ' - int64(b)
	}
	if want != sum && want != sum-negative<<8 {
		return errNoTarHeader
	}
	return nil
}

// newTarMember decodes a header block.
func newTarMember(block []byte) (tarMember, error) {
	m := tarMember{kind: block[tarType], name: tarName.text(block), linkname: tarLinkname.text(block)}
	var modTime int64
	var errs [6]error
	m.mode, errs[0] = tarMode.number(block)
	m.uid, errs[1] = tarUID.number(block)
	m.gid, errs[2] = tarGID.number(block)
	m.size, errs[3] = tarSize.number(block)
	modTime, errs[4] = tarModTime.number(block)
	m.modTime = time.Unix(modTime, 0)
	if m.kind == typeChar || m.kind == typeBlock {
		m.major, errs[5] = tarMajor.number(block)
		if errs[5] == nil {
			m.minor, errs[5] = tarMinor.number(block)
		}
	}
	if string(tarMagic.of(block)) == magicUSTAR {
		prefix := tarPrefix
		if string(tarTrailer.of(block)) == magicStar {
			prefix.length = starPrefix
		}
		if dir := prefix.text(block); dir != "" {
			m.name = dir + "/" + m.name
		}
	}
	switch m.kind {
	case typeHardLink, typeSymlink, typeChar, typeBlock, typeDirectory, typeFifo:
		m.size = 0 // some programs store the size of the file here, but no content follows
	}
	m.stored = m.size
	return m, errors.Join(errs[:]...)
}

// of returns the bytes of the field.
func (f tarField) of(block []byte) []byte { return block[f.offset:][:f.length] }

// text returns the field up to its first zero byte, if there is one.
func (f tarField) text(block []byte) string { return *untilNUL(f.of(block)) }

func untilNUL(b []byte) *string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	s := string(b)
	return &s
}

// number returns the value of the field: octal digits between spaces and zero bytes or, from GNU
// tar, a binary number whose first bit is set.
func (f tarField) number(block []byte) (int64, error) {
	b := f.of(block)
	if b[0]&0x80 != 0 {
		return binaryNumber(b)
	}
	start, end := 0, len(b)
	for start < end && b[start] == ' ' {
		start++
	}
	for end > start && (b[end-1] == ' ' || b[end-1] == 0) {
		end--
	}
	var n int64
	for _, digit := range b[start:end] {
		if digit < '0' || digit > '7' || n > math.MaxInt64>>3 {
			return 0, fmt.Errorf("%q at byte %d of the header is not an octal number", b[start:end], f.offset)
		}
		n = n<<3 | int64(digit-'0')
	}
	return n, nil
}

// binaryNumber decodes a big-endian number in two's complement, without its first bit.
func binaryNumber(b []byte) (int64, error) {
	const sign = 0x40
	n := int64(b[0] & (sign - 1))
	if b[0]&sign != 0 {
		n -= sign
	}
	for _, next := range b[1:] {
		if n > math.MaxInt64>>8 || n < math.MinInt64>>8 {
			return 0, fmt.Errorf("number %x does not fit into 64 bits", b)
		}
		n = n<<8 | int64(next)
	}
	return n, nil
}

// decimal parses a number of a pax record.
func decimal(key, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("pax record %s=%q is not a number", key, value)
	}
	return n, nil
}
