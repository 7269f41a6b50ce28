// SPDX-License-Identifier: Apache-2.0

package extread

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/xattr"
)

// An empty value may have any offset, at which nothing may be read (issue 12, A7).
func TestAttributesAreNotReadBeyondTheirBlock(t *testing.T) {
	t.Parallel()
	area := make([]byte, 64)
	area[0], area[1], area[16] = 1, byte(xattr.User), 'a' // length and index of the name, then the name
	binary.LittleEndian.PutUint16(area[2:], 0xffff)       // the offset of an empty value
	if got, err := appendXattrs(nil, area, area); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

// A map that points to one block many times would take days to read (issue 12, A7).
func TestMapsPointToEachBlockOnce(t *testing.T) {
	t.Parallel()
	const blockSize = 1024
	leaf := make([]byte, 16*blockSize)
	binary.LittleEndian.PutUint16(leaf[5*blockSize:], disk.ExtentMagic)
	fs := &FileSystem{r: bytes.NewReader(leaf), blockSize: blockSize, blocks: 16}
	n := &inode{number: 12}
	n.SizeLo, n.Flags = 1<<30, disk.InodeExtents
	root := n.Block[:]
	binary.LittleEndian.PutUint16(root, disk.ExtentMagic)
	binary.LittleEndian.PutUint16(root[2:], 2) // entries
	binary.LittleEndian.PutUint16(root[4:], 2) // room for entries
	binary.LittleEndian.PutUint16(root[6:], 1) // level
	for _, entry := range []int{1, 2} {
		binary.LittleEndian.PutUint32(root[entry*disk.ExtentEntrySize+4:], 5)
	}
	if _, err := fs.content(n); err == nil || !strings.Contains(err.Error(), "block 5 twice") {
		t.Errorf("got %v", err)
	}
}
