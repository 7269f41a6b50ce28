// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// snapshotRecord is the metadata of a snapshot's image in the store.
type snapshotRecord struct {
	Labels map[string]string `json:"labels,omitempty"`
	Size   int64             `json:"size"`
	Used   time.Time         `json:"used"`
	// Layers lists the layer of the snapshot and those below it, the lowest first.
	Layers []sealedLayer `json:"layers,omitempty"`
	// Folded lists the layers of the snapshots that came before the lowest of Layers, which holds the
	// files of all of them, see Store.fold.
	Folded []sealedLayer `json:"folded,omitempty"`
	// Sum is a digest of the record without Used, and of the name.
	Sum digest.Digest `json:"sum"`
}

// bootID returns the kernel's identifier of the current boot, or "" if it cannot be read.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Snapshot keeps the current state of the container, with labels, as an image of that name, and
// continues in a new layer at another Root. It replaces an older image of that name. Nothing is
// copied if the driver is overlay; vfs copies everything. An unfinished snapshot has no name yet
// and is not visible.
//
// After an error the only valid call is Close.
func (c *Container) Snapshot(ctx context.Context, name string, labels map[string]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.snapshot(ctx, name, labels); err != nil {
		return fmt.Errorf("snapshot %q: %w", name, err)
	}
	return nil
}

func (c *Container) snapshot(ctx context.Context, name string, labels map[string]string) error {
	layer := c.layer
	if c.OwnerXattrs() {
		// The next layer has a new root directory, which belongs to 0:0.
		if o, err := owners.Read(c.root, unix.S_IFDIR); err != nil || o != owners.Root {
			return errors.Join(err,
				fmt.Errorf("the root directory belongs to %d:%d; with a single ID it must belong to 0:0", o.UID, o.GID))
		}
	}
	c.layer, c.root = "", ""
	err := c.engine.layers.driver.Put(layer)
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	if c.layers, err = c.engine.commit(ctx, layer, name, labels, c.layers); err != nil {
		return err
	}
	return c.begin(ctx, c.layers.top())
}

// commit turns a finished layer of this session into a snapshot. below are the layers that it rests
// on; commit returns them with the new one on top.
func (s *Store) commit(
	ctx context.Context, layer, name string, labels map[string]string, below layerChain,
) (layers layerChain, err error) {
	if layer, below, err = s.fold(layer, below); err != nil {
		return layers, fmt.Errorf("fold %d layers: %w", maxDepth+1, err)
	}
	sealed, size, err := s.seal(ctx, layer)
	if err != nil {
		return layers, fmt.Errorf("compute the digests of its files: %w", err)
	}
	layers = layerChain{append(slices.Clone(below.sealed), sealed), below.folded}
	record := snapshotRecord{
		Labels: labels, Size: size, Used: s.options.Now(), Layers: layers.sealed, Folded: layers.folded,
	}
	record.Sum = record.sum(name)
	image, err := s.createImage(layer, record)
	if err != nil {
		return layers, errors.Join(err, s.store.DeleteLayer(layer))
	}
	older, err := s.store.Image(name)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return layers, err
	}
	// First name the image, then remove the working name from the layer. If the process is killed
	// in between, the next one sees that the layer is in use, see removeLeftover.
	if err := s.store.AddNames(image, []string{name}); err != nil {
		return layers, err
	}
	if err := s.store.SetNames(layer, nil); err != nil {
		return layers, err
	}
	if older == nil {
		return layers, nil
	}
	s.removed.add(fmt.Sprintf("the snapshot %q that was replaced", name), func() error {
		if _, err := s.store.DeleteImage(older.ID, true); !errors.Is(err, storage.ErrNotAnImage) {
			return err
		}
		return nil
	})
	return layers, nil
}

// createImage creates an image without a name for a layer. It is a record in this store only: a
// manifest and a configuration would contain the digests of packed layers, and a snapshot avoids
// packing them. Exports pack them.
func (s *Store) createImage(layer string, record snapshotRecord) (id string, err error) {
	metadata, err := json.Marshal(record)
	if err != nil {
		return "", err
	}
	image, err := s.store.CreateImage("", nil, layer, string(metadata), nil)
	if err != nil {
		return "", fmt.Errorf("record the image: %w", err)
	}
	return image.ID, nil
}

// Has reports whether there is a snapshot of that name.
func (s *Store) Has(name string) bool {
	_, err := s.store.Image(name)
	return err == nil
}

// Labels returns the labels of a snapshot. The error wraps fs.ErrNotExist if there is no snapshot
// of that name.
func (s *Store) Labels(name string) (map[string]string, error) {
	image, err := s.store.Image(name)
	if err != nil {
		return nil, notExist(name, err)
	}
	record := recordOf(image)
	if record.Sum != record.sum(name) {
		return nil, s.discard(name, image, damagef("its record is damaged, or an older version of this program made it"))
	}
	return record.Labels, nil
}

// recordOf parses the metadata of an image; it returns a zero record for an image of another
// program.
func recordOf(image *storage.Image) snapshotRecord {
	var record snapshotRecord
	if json.Unmarshal([]byte(image.Metadata), &record) != nil {
		return snapshotRecord{}
	}
	return record
}

// describe returns the public description of a snapshot.
func describe(name string, image *storage.Image) types.Snapshot {
	record := recordOf(image)
	return types.Snapshot{ID: image.ID, Name: name, Labels: record.Labels, Size: record.Size, Created: image.Created,
		Used: record.Used}
}

// touch records the use of a snapshot.
func (s *Store) touch(image *storage.Image) error {
	record := recordOf(image)
	record.Used = s.options.Now()
	metadata, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return s.store.SetMetadata(image.ID, string(metadata))
}

// Snapshots lists all snapshots, the most recently used first.
func (s *Store) Snapshots() ([]types.Snapshot, error) {
	images, err := s.store.Images()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []types.Snapshot
	for _, image := range images {
		for _, name := range image.Names {
			all = append(all, describe(name, &image))
		}
	}
	slices.SortFunc(all, func(a, b types.Snapshot) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// Remove removes a snapshot, and those of its layers that no other snapshot or container needs. The
// error wraps fs.ErrNotExist if there is no snapshot of that name.
func (s *Store) Remove(name string) error {
	if err := s.removed.wait(); err != nil {
		return err
	}
	image, err := s.store.Image(name)
	if err != nil {
		return notExist(name, err)
	}
	if _, err := s.store.DeleteImage(image.ID, true); err != nil {
		return notExist(name, err)
	}
	return nil
}
