// SPDX-License-Identifier: Apache-2.0

package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// A sparse file is written in the form "PAX 1.0" of GNU tar ("Storing Sparse Files" in its manual): its
// name and length are in pax records, and its content begins with a map of what follows. GNU tar,
// bsdtar and Go read it. What is a hole depends on the content, not on how the file system stores it:
// the same tree always results in the same bytes.

const (
	// sparseUnit is the unit of holes in bytes: a large one keeps maps short.
	sparseUnit = 64 << 10
	// minSparse is the number of zeros in bytes that make a file sparse. Ordinary systems have no such
	// file, so that also programs that do not know the form read their archives.
	minSparse = 1 << 20
	// sparseRecord is the prefix of the pax records. archive/tar accepts no such record: it gets
	// sparseMark instead, which has the same length.
	sparseRecord = "GNU.sparse."
	sparseMark   = "gnu.sparse."
)

// addSparse writes a regular file as a sparse one, if it has enough zeros. done is false if not.
func (a archive) addSparse(ctx context.Context, e diskimage.Entry, h *tar.Header) (done bool, err error) {
	if !a.sparse || h.Typeflag != tar.TypeReg || h.Size < minSparse {
		return false, nil
	}
	content, err := e.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	data, err := a.findData(ctx, content, e)
	if err != nil {
		return false, err
	}
	stored := int64(0)
	for _, d := range data {
		stored += d.Length
	}
	if h.Size-stored < minSparse {
		return false, nil
	}
	if end := len(data) - 1; end < 0 || data[end].Offset+data[end].Length < h.Size {
		data = append(data, diskimage.Extent{Offset: h.Size}) // as GNU tar does: the length is part of the map
	}
	sparseMap := encodeSparseMap(data)
	header, err := sparseHeader(*h, int64(len(sparseMap))+stored)
	if err != nil {
		return false, err
	}
	if err := a.Flush(); err != nil { // the padding of the member before
		return false, err
	}
	if _, err := a.out.Write(append(header, sparseMap...)); err != nil {
		return false, err
	}
	for _, d := range data {
		if err := a.copy(ctx, a.out, io.NewSectionReader(content, d.Offset, d.Length), d.Length); err != nil {
			return false, err
		}
	}
	_, err = a.out.Write(make([]byte, -stored&(tarBlock-1)))
	return true, err
}

// findData returns the ranges of a file that are not only zeros, in multiples of sparseUnit.
func (a archive) findData(ctx context.Context, content diskimage.Content, e diskimage.Entry) ([]diskimage.Extent,
	error) {
	var data []diskimage.Extent
	next := int64(0)
	zeros := make([]byte, sparseUnit)
	for _, r := range e.DataRanges() {
		for at := max(next, r.Offset&^(sparseUnit-1)); at < min(r.Offset+r.Length, e.Size); at = next {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			unit := a.buf[:min(sparseUnit, e.Size-at)]
			if n, err := content.ReadAt(unit, at); n < len(unit) {
				return nil, fmt.Errorf("content ends after %d of %d bytes: %w", at+int64(n), e.Size,
					errors.Join(err, io.ErrUnexpectedEOF))
			}
			next = at + int64(len(unit))
			if bytes.Equal(unit, zeros[:len(unit)]) {
				continue
			}
			if last := len(data) - 1; last >= 0 && data[last].Offset+data[last].Length == at {
				data[last].Length += int64(len(unit))
			} else {
				data = append(data, diskimage.Extent{Offset: at, Length: int64(len(unit))})
			}
		}
	}
	return data, nil
}

// encodeSparseMap returns decimal numbers in lines, padded to whole blocks: the number of entries, then the offset and
// the length of each.
func encodeSparseMap(data []diskimage.Extent) []byte {
	b := fmt.Appendln(nil, len(data))
	for _, d := range data {
		b = fmt.Appendf(b, "%d\n%d\n", d.Offset, d.Length)
	}
	return append(b, make([]byte, -len(b)&(tarBlock-1))...)
}

// sparseHeader returns the header blocks of a sparse file, of which stored bytes follow.
func sparseHeader(h tar.Header, stored int64) ([]byte, error) {
	records := map[string]string{
		sparseMark + "major": "1", sparseMark + "minor": "0", sparseMark + "name": h.Name,
		sparseMark + "realsize": strconv.FormatInt(h.Size, 10),
	}
	for key, value := range h.PAXRecords {
		records[key] = value
	}
	h.PAXRecords, h.Size = records, stored
	h.Name = path.Dir(h.Name) + "/GNUSparseFile.0/" + path.Base(h.Name) // for programs that do not know the form
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		return nil, err
	}
	header := b.Bytes()
	// The first block describes the records, which follow it.
	for rest := header[tarBlock:]; len(rest) > 0 && rest[0] != 0; {
		space := bytes.IndexByte(rest, ' ')
		length, err := strconv.Atoi(string(rest[:max(space, 0)]))
		if err != nil || length <= space || length > len(rest) {
			break // the padding, or the header of the file
		}
		if record := rest[space+1 : length]; bytes.HasPrefix(record, []byte(sparseMark)) {
			copy(record, sparseRecord)
		}
		rest = rest[length:]
	}
	return header, nil
}
