// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Layer is an uncompressed tar archive that is one layer of a container image.
type Layer struct {
	Archive io.ReaderAt
	Size    int64
}

// Names in a layer that are not files but hide files of the layers below (OCI image specification,
// layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	// opaqueWhiteout hides everything that the layers below have in its directory.
	opaqueWhiteout = ".wh..wh..opq"
	// whiteoutMeta is the prefix of AUFS's internal files, which are ignored.
	whiteoutMeta = ".wh..wh."
)

// NewLayerTree returns the layers of a container image, the lowest first, as one Tree: what a
// container of the image would see. It reads each layer as NewTarTree reads an archive. The entries
// of a layer replace those of the layers below; a directory that replaces a directory keeps its
// content, a hard link may refer to a file of a layer below, and whiteouts hide names of the layers
// below, never of their own. A layer may lack the zero blocks at the end of an archive: the caller
// has compared the digest, which proves that it is complete.
func NewLayerTree(layers ...Layer) (Tree, error) {
	x := newTarIndex()
	for i, layer := range layers {
		x.archive, x.layer = layer.Archive, i
		x.whiteouts = &whiteouts{gone: map[string]bool{}, opaque: map[string]bool{}}
		if err := x.read(&tarReader{archive: layer.Archive, size: layer.Size}); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		x.hide()
	}
	if err := x.addParents(); err != nil {
		return nil, fmt.Errorf("merge layers: %w", err)
	}
	return x.tree(), nil
}

// whiteouts are the names that a layer hides in those below it: names with everything below them,
// and the content of directories.
type whiteouts struct{ gone, opaque map[string]bool }

// add records the name of a member if it is a whiteout, and reports whether it is one.
func (w *whiteouts) add(name string) (bool, error) {
	base := path.Base(name)
	switch {
	case !strings.HasPrefix(base, whiteoutPrefix):
		return false, nil
	case base == opaqueWhiteout:
		w.opaque[parentOf(name)] = true
	case strings.HasPrefix(base, whiteoutMeta):
	default:
		hidden := strings.TrimPrefix(base, whiteoutPrefix)
		if hidden == "" || hidden == "." || hidden == ".." {
			return true, errors.New("the whiteout has no file name")
		}
		w.gone[joinName(parentOf(name), hidden)] = true
	}
	return true, nil
}

// hides reports whether the layer hides a name of the layers below.
func (w *whiteouts) hides(name string) bool {
	if w.gone[name] {
		return true
	}
	for dir := name; dir != rootName; {
		dir = parentOf(dir)
		if w.gone[dir] || w.opaque[dir] {
			return true
		}
	}
	return false
}

// hide removes the names that the last layer hides.
func (x *tarIndex) hide() {
	if len(x.whiteouts.gone) == 0 && len(x.whiteouts.opaque) == 0 {
		return
	}
	x.ordered = slices.DeleteFunc(x.ordered, func(name string) bool {
		hidden := x.names[name].layer < x.layer && x.whiteouts.hides(name)
		if hidden {
			delete(x.names, name)
		}
		return hidden
	})
}
