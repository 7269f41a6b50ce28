// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The header of a member of an ar archive: ASCII, padded with blanks (ar(5), deb(5)).
const (
	arMagic      = "!<arch>\n"
	arNameEnd    = 16 // the name comes first, with a trailing slash in GNU's variant
	arSizeStart  = 48 // the member's length in decimal digits
	arSizeEnd    = 58
	arHeaderSize = 60
	arHeaderMark = "`\n" // the last two bytes of the header
)

// openMember returns the member of a .deb whose name is stem, alone or with the suffix of a compression. The reader
// ends with the member, and returns an error if the .deb ends before.
func openMember(deb io.Reader, stem string) (name string, member io.Reader, err error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(deb, magic); err != nil || string(magic) != arMagic {
		return "", nil, errors.New("not a .deb: it does not begin like an ar archive")
	}
	for {
		name, size, err := readArHeader(deb)
		if errors.Is(err, io.EOF) {
			return "", nil, fmt.Errorf("no member %s", stem)
		}
		if err != nil {
			return "", nil, err
		}
		if name == stem || strings.HasPrefix(name, stem+".") {
			return name, &wholeReader{deb, size}, nil
		}
		size += size % 2 // members begin at even offsets
		if _, err := io.CopyN(io.Discard, deb, size); err != nil {
			return "", nil, fmt.Errorf("skip member %q: %w", name, noEOF(err))
		}
	}
}

// readArHeader reads the header of a member; the error is io.EOF after the last one.
func readArHeader(r io.Reader) (name string, size int64, err error) {
	header := make([]byte, arHeaderSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return "", 0, err
	}
	name = strings.TrimSuffix(strings.TrimRight(string(header[:arNameEnd]), " "), "/")
	size, err = strconv.ParseInt(strings.TrimRight(string(header[arSizeStart:arSizeEnd]), " "), 10, 64)
	if err != nil || size < 0 || string(header[arHeaderSize-len(arHeaderMark):]) != arHeaderMark {
		return "", 0, errors.New("damaged member header")
	}
	return name, size, nil
}

// wholeReader reads the next left bytes of r; fewer are an error.
type wholeReader struct {
	r    io.Reader
	left int64
}

func (w *wholeReader) Read(b []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	n, err := w.r.Read(b[:min(int64(len(b)), w.left)])
	if w.left -= int64(n); w.left > 0 {
		err = noEOF(err)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// noEOF turns io.EOF into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// OpenData returns the decompressed data.tar of a .deb, which must be at its beginning.
func OpenData(deb io.Reader) (io.ReadCloser, error) { return open(deb, "data.tar") }

// OpenControl returns the decompressed control.tar of a .deb, which must be at its beginning.
func OpenControl(deb io.Reader) (io.ReadCloser, error) { return open(deb, "control.tar") }

// DataIsXZ reports whether data.tar of a .deb, which must be at its beginning, is compressed by xz.
func DataIsXZ(deb io.Reader) (bool, error) {
	name, _, err := openMember(deb, "data.tar")
	return strings.HasSuffix(name, ".xz"), err
}

func open(deb io.Reader, stem string) (io.ReadCloser, error) {
	name, member, err := openMember(deb, stem)
	if err != nil {
		return nil, err
	}
	return Decompress(member, name)
}
