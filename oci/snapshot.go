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
	// Layers are the layer of the snapshot and those below it, the lowest first.
	Layers []sealedLayer `json:"layers,omitempty"`
	// Sum is a digest of the record but for Used, and of the name.
	Sum digest.Digest `json:"sum"`
}

// bootID identifies the boot of the machine, "" if the kernel does not tell.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Snapshot keeps the present state of the container, with labels, as an image of that name, and goes on above
// it at another Root. An older image of the name is replaced. Nothing is copied if the driver is overlay; vfs
// copies everything. A snapshot that is not finished has no name yet and cannot be seen.
//
// After an error the container may only be closed.
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
		// A new layer has a new root directory.
		if o, err := owners.Read(c.root, unix.S_IFDIR); err != nil || o != owners.Root {
			return errors.Join(err,
				fmt.Errorf("the root directory belongs to %d:%d, and here it can only belong to 0:0", o.UID, o.GID))
		}
	}
	c.layer, c.root = "", ""
	if err := c.engine.driver.Put(layer); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	layers, err := c.engine.name(ctx, layer, name, labels, c.layers)
	if err != nil {
		return err
	}
	c.layers = layers
	return c.begin(ctx, layer)
}

// name makes a finished layer of this session a snapshot. The layers below are those of snapshots, the lowest first; it
// returns them with the new one.
func (s *Store) name(
	ctx context.Context, layer, name string, labels map[string]string, below []sealedLayer,
) (layers []sealedLayer, err error) {
	sealed, size, err := s.seal(ctx, layer)
	if err != nil {
		return nil, fmt.Errorf("take the digests of its files: %w", err)
	}
	layers = append(slices.Clone(below), sealed)
	record := snapshotRecord{Labels: labels, Size: size, Used: s.options.Now(), Layers: layers}
	record.Sum = record.sum(name)
	image, err := s.createImage(layer, record)
	if err != nil {
		return nil, errors.Join(err, s.store.DeleteLayer(layer))
	}
	older, err := s.store.Image(name)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return nil, err
	}
	// First the image gets its name, then the layer loses that of the work. If the process is killed in
	// between, the next one sees that the layer is in use, see removeLeftover.
	if err := s.store.AddNames(image, []string{name}); err != nil {
		return nil, err
	}
	if err := s.store.SetNames(layer, nil); err != nil {
		return nil, err
	}
	if older == nil {
		return layers, nil
	}
	if _, err := s.store.DeleteImage(older.ID, true); err != nil && !errors.Is(err, storage.ErrNotAnImage) {
		return nil, fmt.Errorf("remove the older one: %w", err)
	}
	return layers, nil
}

// createImage makes an image without a name of a layer. It is a record of this store: a manifest and a configuration
// would name digests of packed layers, and packing them is what a snapshot avoids. Export does it.
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

// Labels returns what a snapshot was labelled with. The error wraps fs.ErrNotExist if there is none of that name.
func (s *Store) Labels(name string) (map[string]string, error) {
	image, err := s.store.Image(name)
	if err != nil {
		return nil, notExist(name, err)
	}
	record := recordOf(image)
	if record.Sum != record.sum(name) {
		return nil, s.discard(name, image, damagef("its record is damaged, or of an older version of this program"))
	}
	return record.Labels, nil
}

// recordOf reads the metadata of an image; one of another program has none that we know.
func recordOf(image *storage.Image) snapshotRecord {
	var record snapshotRecord
	if json.Unmarshal([]byte(image.Metadata), &record) != nil {
		return snapshotRecord{}
	}
	return record
}

// infoOf tells of a snapshot.
func infoOf(name string, image *storage.Image) types.Snapshot {
	record := recordOf(image)
	return types.Snapshot{Name: name, Labels: record.Labels, Size: record.Size, Created: image.Created,
		Used: record.Used}
}

// touch notes that a snapshot is used.
func (s *Store) touch(image *storage.Image) error {
	record := recordOf(image)
	record.Used = s.options.Now()
	metadata, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return s.store.SetMetadata(image.ID, string(metadata))
}

// Snapshots lists all snapshots, those that were used last first.
func (s *Store) Snapshots() ([]types.Snapshot, error) {
	images, err := s.store.Images()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []types.Snapshot
	for _, image := range images {
		for _, name := range image.Names {
			all = append(all, infoOf(name, &image))
		}
	}
	slices.SortFunc(all, func(a, b types.Snapshot) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// Remove removes a snapshot, and its layers as far as no other snapshot or container needs them. The error wraps
// fs.ErrNotExist if there is none of that name.
func (s *Store) Remove(name string) error {
	image, err := s.store.Image(name)
	if err != nil {
		return notExist(name, err)
	}
	if _, err := s.store.DeleteImage(image.ID, true); err != nil {
		return notExist(name, err)
	}
	return nil
}
