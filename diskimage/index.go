// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Index holds the entries of a tree by name.
type Index map[string]Entry

// NewIndex reads all entries of a tree.
func NewIndex(tree Tree) (Index, error) {
	x := Index{}
	for e, err := range tree.Entries() {
		if err != nil {
			return nil, err
		}
		x[e.Name] = e
	}
	return x, nil
}

// Follow looks up a name as the running system would: it follows symbolic links, which cannot lead
// out of the tree. The error wraps fs.ErrNotExist if the name does not exist.
func (x Index) Follow(name string) (Entry, error) {
	rest, at := strings.Split(name, "/"), rootName
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = parentOf(at)
			continue
		}
		e, ok := x[path.Join(at, part)]
		if !ok {
			return Entry{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if e.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = e.Name
			continue
		}
		if links++; links > maxLinks {
			return Entry{}, &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
		}
		if path.IsAbs(e.Linkname) {
			at = rootName
		}
		rest = append(strings.Split(e.Linkname, "/"), rest...)
	}
	e, ok := x[at]
	if !ok {
		return Entry{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return e, nil
}

// File looks up a regular file and returns the entry with the content, whichever of its names that
// has.
func (x Index) File(name string) (Entry, error) {
	e, err := x.Follow(name)
	if err != nil {
		return Entry{}, err
	}
	if e.HardLink != "" {
		e = x[e.HardLink]
	}
	if !e.IsRegular() {
		return Entry{}, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return e, nil
}

// maxRead limits the files that are read into memory. No file for which that is meant is that
// large.
const maxRead = 1 << 30

// ReadFile returns the content of a regular file.
func (x Index) ReadFile(name string) (data []byte, err error) {
	e, err := x.File(name)
	if err != nil {
		return nil, err
	}
	if e.Open == nil {
		return []byte{}, nil
	}
	if e.Size > maxRead {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("file of %d bytes is too large", e.Size)}
	}
	content, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	data = make([]byte, e.Size)
	if n, err := content.ReadAt(data, 0); n < len(data) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}
