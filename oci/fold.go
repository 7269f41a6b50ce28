// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"go.podman.io/storage"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// maxDepth is how many layers may lie below the layer of a snapshot. Linux mounts an overlay of up to
// 500 layers (OVL_MAX_STACK), and each mount opens all of them; the options of one with 100 fit into
// the 4096 bytes of mount(2).
const maxDepth = 100

// layerChain is what a snapshot consists of.
type layerChain struct {
	// sealed lists the layers that lie above each other, the lowest first.
	sealed []sealedLayer
	// folded lists the layers of the snapshots that came before the lowest of them, see Store.fold.
	folded []sealedLayer
}

// top returns the ID of the uppermost layer, "" if there is none.
func (c layerChain) top() string {
	if len(c.sealed) == 0 {
		return ""
	}
	return c.sealed[len(c.sealed)-1].ID
}

// fold replaces a finished layer of this session by one that holds the files of all layers below, too,
// and has none below, if there are maxDepth of them. It does so only for overlay: a layer of vfs is a
// full copy anyway.
func (s *Store) fold(layer string, below layerChain) (string, layerChain, error) {
	if len(below.sealed) < maxDepth || s.Driver() != host.DriverOverlay {
		return layer, below, nil
	}
	folded, err := s.store.CreateLayer("", "", []string{s.session.workName()}, "", true, nil)
	if err != nil {
		return "", below, err
	}
	if err := s.layers.copyAll(folded, layer); err != nil {
		return "", below, errors.Join(err, s.store.DeleteLayer(folded.ID))
	}
	return folded.ID, layerChain{nil, slices.Concat(below.folded, below.sealed)}, s.store.DeleteLayer(layer)
}

// copyAll copies the files of a layer and of those below it to an empty layer, all but sockets.
func (l *layerStore) copyAll(to *storage.Layer, from string) (err error) {
	files, err := l.driver.Diff(from, nil, "", nil, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	if err := l.apply(to, files); err != nil {
		return err
	}
	return l.completeCopy(to.ID, from)
}

// layersAt returns the layers of the n-th snapshot of a chain. Those of a folded one are checked: they
// do not lie below the chain, which was checked. The error wraps fs.ErrNotExist if they are gone.
func (s *Store) layersAt(ctx context.Context, of layerChain, n int) (layerChain, error) {
	at := n - len(of.folded)
	switch {
	case n < 1 || at > len(of.sealed):
		return layerChain{}, fmt.Errorf("there are %d: %w", len(of.folded)+len(of.sealed), fs.ErrNotExist)
	case at > 0:
		return layerChain{of.sealed[:at:at], of.folded}, nil
	}
	var got layerChain
	layers, err := s.layers.chain(of.folded[n-1].ID)
	for _, layer := range layers {
		i := slices.IndexFunc(of.folded, func(l sealedLayer) bool { return l.ID == layer.ID })
		if i < 0 {
			return layerChain{}, damagef("layer %s is not one of its layers", layer.ID)
		}
		if err = s.checkLayer(ctx, layer, of.folded[i].Contents, false); err != nil {
			break
		}
		got.sealed = append(got.sealed, of.folded[i])
		got.folded = of.folded[:i+1-len(got.sealed)]
	}
	var d *damage
	if errors.As(err, &d) {
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return got, err
}
