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

// Names in a layer that are not files but say what is gone of the layers below it (OCI image specification, layer.md,
// "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	// opaqueWhiteout hides all that the layers below have in its directory.
	opaqueWhiteout = ".wh..wh..opq"
	// whiteoutMeta begins what AUFS kept for itself, which says nothing.
	whiteoutMeta = ".wh..wh."
)

// NewLayerTree is the layers of a container image, the lowest first, as one Tree: what a container of the image would
// see. Each layer is read as NewTarTree reads an archive. What it has replaces what is below it, a directory over a
// directory keeps the content, a hard link may lead to a file of a layer below, and whiteouts hide names of the layers
// below, never of their own. An archive may end without the zero blocks of an end: the digests of an image, which the
// caller has compared, tell that it is whole.
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
		return nil, fmt.Errorf("put layers together: %w", err)
	}
	return x.tree(), nil
}

// whiteouts are what a layer hides of those below it: names with all that is below them, and the content of
// directories.
type whiteouts struct{ gone, opaque map[string]bool }

// add takes the name of a member that is a whiteout, and reports whether it is one.
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
			return true, errors.New("the whiteout names no file")
		}
		w.gone[joinName(parentOf(name), hidden)] = true
	}
	return true, nil
}

// hides reports whether a name of a layer below is hidden.
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

// hide takes away what the layer that was read last hides.
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
