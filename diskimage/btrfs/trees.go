// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"sort"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fsread"
)

// Sizes of the structures of nodes.
var (
	headerSize  = binary.Size(header{})
	itemSize    = binary.Size(item{})
	pointerSize = binary.Size(pointer{})
)

// compare orders keys.
func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.Object, other.Object), cmp.Compare(k.Type, other.Type),
		cmp.Compare(k.Offset, other.Offset))
}

// foundItem is an item with its data, which must not be changed.
type foundItem struct {
	key  key
	data []byte
}

// node reads a node and verifies its checksum.
func (fs *FileSystem) node(at uint64, level uint8) (header, []byte, error) {
	var h header
	place, err := fs.physical(at, uint64(fs.sb.NodeSize))
	if err != nil {
		return h, nil, err
	}
	raw, err := fs.cache.Get(place, int64(fs.sb.NodeSize), func() ([]byte, error) {
		raw, err := fsread.Read(fs.r, place, int(fs.sb.NodeSize))
		if err == nil && !fs.valid(raw) {
			err = fsread.Damaged("checksum mismatch")
		}
		return raw, err
	})
	if err != nil {
		return h, nil, fmt.Errorf("node at %d: %w", at, err)
	}
	decode(raw, &h)
	size := itemSize
	if level > 0 {
		size = pointerSize
	}
	if h.At != at || h.Level != level || int64(h.Items) > int64((len(raw)-headerSize)/size) {
		return h, nil, fsread.Damaged("the node at %d is that of another place", at)
	}
	return h, raw[headerSize:], nil
}

// items yields the items of an object with one type, in order.
func (fs *FileSystem) items(t tree, object uint64, kind uint8) iter.Seq2[foundItem, error] {
	return func(yield func(foundItem, error) bool) {
		if t.level > maxLevel {
			yield(foundItem{}, fsread.Damaged("a tree of %d levels", t.level))
			return
		}
		fs.search(t, key{Object: object, Type: kind}, key{object, kind, 1<<64 - 1}, yield)
	}
}

// search yields the items from first to last below a node; it returns false to stop.
func (fs *FileSystem) search(t tree, first, last key, yield func(foundItem, error) bool) bool {
	h, body, err := fs.node(t.at, t.level)
	if err != nil {
		return yield(foundItem{}, err) && false
	}
	size := itemSize
	if t.level > 0 {
		size = pointerSize
	}
	keyOf := func(i int) (k key) {
		b := body[i*size:]
		return key{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
	}
	// Of a node the one before the first greater key may have items of the range, too.
	i := sort.Search(int(h.Items), func(i int) bool { return keyOf(i).compare(first) >= 0 })
	if t.level > 0 && i > 0 && (i == int(h.Items) || keyOf(i).compare(first) > 0) {
		i--
	}
	for ; i < int(h.Items); i++ {
		k := keyOf(i)
		if k.compare(last) > 0 {
			break
		}
		if i > 0 && keyOf(i-1).compare(k) >= 0 {
			return yield(foundItem{}, fsread.Damaged("the keys of the node at %d are not in order", t.at)) && false
		}
		if t.level > 0 {
			var p pointer
			decode(body[i*size:], &p)
			if !fs.search(tree{p.At, t.level - 1}, first, last, yield) {
				return false
			}
			continue
		}
		var it item
		decode(body[i*size:], &it)
		if uint64(it.Offset)+uint64(it.Size) > uint64(len(body)) {
			return yield(foundItem{}, fsread.Damaged("an item of the node at %d is outside of it", t.at)) && false
		}
		if !yield(foundItem{it.Key, body[it.Offset : it.Offset+it.Size]}, nil) {
			return false
		}
	}
	return true
}

// item returns the last item of an object with one type; nil data if there is none.
func (fs *FileSystem) item(t tree, object uint64, kind uint8) (last foundItem, err error) {
	for found, err := range fs.items(t, object, kind) {
		if err != nil {
			return foundItem{}, err
		}
		last = found
	}
	return last, nil
}

// subvolume returns the tree of a subvolume.
func (fs *FileSystem) subvolume(number uint64) (tree, error) {
	found, err := fs.item(fs.trees, number, keyRoot)
	if err != nil {
		return tree{}, err
	}
	var r rootItem
	if found.data == nil {
		return tree{}, fsread.Damaged("tree %d does not exist", number)
	}
	if _, err := take(found.data, &r); err != nil {
		return tree{}, err
	}
	return tree{r.At, r.Level}, nil
}
