// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/filetree"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// A snapshot is used only if its layers are unchanged. When a snapshot is created, two digests of
// its tree are recorded: one of the results of lstat(2), which is compared on each use, and one of
// the contents. The contents are compared when the first digest has changed (a restored backup has
// new ctimes), on the first use after a boot of the machine, because nothing flushes layers to the
// disk, and after maxUnread.

// maxUnread is how long a layer in regular use is trusted without reading its contents. Disks
// rarely lose bits, but a machine may run for months: one second of reading per week is cheap.
const maxUnread = 7 * 24 * time.Hour

// seal is the metadata that the store keeps for a snapshot's layer.
type seal struct {
	// Looks is the digest of what lstat(2) returns in the layer's tree, Contents that of the contents.
	Looks    digest.Digest `json:"looks"`
	Contents digest.Digest `json:"contents"`
	// Read is when the contents were last compared, and Boot identifies the boot of the machine then.
	Read time.Time `json:"read"`
	Boot string    `json:"boot"`
}

// sealedLayer is a snapshot's record of one of its layers. If the indexes of the store refer to a
// different layer by mistake, its ID or its contents differ.
type sealedLayer struct {
	ID       string        `json:"id"`
	Contents digest.Digest `json:"contents"`
}

// damage is an error that makes a snapshot unusable.
type damage struct{ err error }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

func damagef(format string, args ...any) error { return &damage{fmt.Errorf(format, args...)} }

// asDamage marks an error of reading a layer as damage, unless it has another cause.
func asDamage(err error) error {
	for _, other := range []error{context.Canceled, context.DeadlineExceeded, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, other) {
			return err
		}
	}
	return &damage{err}
}

// seal records the digests of a finished layer, and returns the snapshot's record of it, and its
// size.
func (s *Store) seal(ctx context.Context, layer string) (sealedLayer, int64, error) {
	t, err := filetree.Scan(ctx, s.layers.tree(layer))
	if err != nil {
		return sealedLayer{}, 0, err
	}
	digests := seal{Looks: t.Looks(), Read: s.options.Now(), Boot: s.boot}
	if digests.Contents, err = t.Contents(ctx); err != nil {
		return sealedLayer{}, 0, err
	}
	return sealedLayer{layer, digests.Contents}, t.Size(), s.layers.writeSeal(layer, digests)
}

func (l *layerStore) writeSeal(layer string, digests seal) error {
	text, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return l.store.SetMetadata(layer, string(text))
}

func readSeal(layer *storage.Layer) (seal, error) {
	var s seal
	err := json.Unmarshal([]byte(layer.Metadata), &s)
	return s, err
}

// check compares a snapshot with its record. The error is a *damage if they differ. If read is not
// nil, check reads the contents of all layers that are not in read, and adds them to it.
func (s *Store) check(ctx context.Context, name string, image *storage.Image, read map[string]bool) (snapshotRecord,
	error) {
	record := recordOf(image)
	if record.Sum == "" {
		return record, damagef("an older version of this program made it, or its record is damaged")
	}
	if record.Sum != record.sum(name) {
		return record, damagef("its record is damaged")
	}
	layers, err := s.layers.chain(image.TopLayer)
	if err != nil {
		return record, err
	}
	if !slices.EqualFunc(layers, record.Layers,
		func(l *storage.Layer, want sealedLayer) bool { return l.ID == want.ID }) {
		return record, damagef("its layers are not those that it was made from")
	}
	for i, l := range layers {
		err := s.damaged.find(l.ID)
		if err == nil {
			err = s.checkLayer(ctx, l, record.Layers[i].Contents, read != nil && !read[l.ID])
		}
		if err != nil {
			return record, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
		if read != nil {
			read[l.ID] = true
		}
	}
	return record, nil
}

// checkLayer compares a layer with its seal; if thorough is set, it always reads the contents.
func (s *Store) checkLayer(ctx context.Context, layer *storage.Layer, contents digest.Digest,
	thorough bool) (err error) {
	defer func() {
		var d *damage
		if errors.As(err, &d) {
			s.damaged.add(layer.ID, err)
		}
	}()
	if err := s.layers.checkLinks(layer); err != nil {
		return asDamage(err)
	}
	digests, err := readSeal(layer)
	if err != nil || digests.Contents != contents {
		return damagef("its digests are damaged")
	}
	t, err := filetree.Scan(ctx, s.layers.tree(layer.ID))
	if err != nil {
		return asDamage(err)
	}
	looks, now := t.Looks(), s.options.Now()
	unread := now.Sub(digests.Read)
	if looks == digests.Looks && digests.Boot == s.boot && unread >= 0 && unread <= maxUnread && !thorough {
		return nil
	}
	got, err := t.Contents(ctx)
	if err != nil {
		return asDamage(err)
	}
	if got != contents {
		if looks == digests.Looks {
			return damagef("the contents of its files have changed, but not their metadata")
		}
		return damagef("its files have changed")
	}
	digests.Looks, digests.Read, digests.Boot = looks, now, s.boot
	if err := s.layers.writeSeal(layer.ID, digests); err != nil && !errors.Is(err, storage.ErrNotAnID) {
		return fmt.Errorf("record that layer %s was read: %w", layer.ID, err)
	}
	return nil
}

// sum returns a digest of the snapshot's name and of all constant fields of the record.
func (r snapshotRecord) sum(name string) digest.Digest {
	r.Sum, r.Used = "", time.Time{}
	text, err := json.Marshal(r)
	if err != nil {
		panic("BUG: " + err.Error()) // all fields have JSON types
	}
	h := filetree.NewFieldHash()
	h.Text(name, string(text))
	return h.Digest()
}

// Damage describes a damaged part of the store that an Engine has removed.
type Damage struct {
	// Snapshot is the one that was removed; without a name, it was the whole store with all snapshots.
	Snapshot types.Snapshot
	// Err is what was wrong.
	Err error
}

// verified returns the image of a snapshot after checking it. A damaged snapshot is removed. The
// error wraps fs.ErrNotExist if there is no snapshot of that name, or no longer.
func (s *Store) verified(ctx context.Context, name string) (*storage.Image, snapshotRecord, error) {
	image, err := s.store.Image(name)
	if err != nil {
		return nil, snapshotRecord{}, notExist(name, err)
	}
	record, err := s.check(ctx, name, image, nil)
	if err != nil {
		return nil, record, s.discard(name, image, err)
	}
	return image, record, nil
}

// discard removes a snapshot if err, from check, is damage. The returned error then wraps
// errDamaged; otherwise it reports what else is wrong. A snapshot without a name cannot be found,
// even if the rest of it cannot be removed.
func (s *Store) discard(name string, image *storage.Image, err error) error {
	var d *damage
	if !errors.As(err, &d) {
		return fmt.Errorf("snapshot %q: %w", name, err)
	}
	if now, err := s.store.Image(name); err != nil || now.ID != image.ID {
		// Another process removed or replaced the snapshot that was checked.
		return notExist(name, cmp.Or(err, storage.ErrImageUnknown))
	}
	if err := s.store.SetNames(image.ID, nil); err != nil {
		return fmt.Errorf("remove the damaged snapshot %q: %w", name, err)
	}
	if _, err := s.store.DeleteImage(image.ID, true); err != nil {
		s.options.Log.Info("could not remove all of a damaged snapshot", "name", name, "error", err)
	}
	s.reportDamage(Damage{describe(name, image), err})
	return fmt.Errorf("snapshot %q: %w: %w", name, errDamaged, err)
}

// reportDamage logs damage and passes it to EngineOptions.Damaged.
func (s *Store) reportDamage(d Damage) {
	s.options.Log.Info("damage in the container store", "snapshot", d.Snapshot.Name, "error", d.Err)
	if s.options.Damaged != nil {
		s.options.Damaged(d)
	}
}

// damagedLayers remembers damage that was found in layers, by their IDs: several snapshots can rest on
// a layer, and each of them is checked with all of its layers. The zero value is empty.
type damagedLayers struct {
	mu     sync.Mutex
	layers map[string]error
}

func (d *damagedLayers) add(layer string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layers == nil {
		d.layers = map[string]error{}
	}
	d.layers[layer] = err
}

// find returns the damage of a layer, nil if none was found.
func (d *damagedLayers) find(layer string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.layers[layer]
}

// Verify reads the contents of all snapshots and removes the damaged ones, calling
// EngineOptions.Damaged for each. It returns the number of snapshots that existed, and how many of
// them were damaged. progress, which may be nil, is called with how many of them have been read.
func (s *Store) Verify(ctx context.Context, progress func(done, total int)) (all, damaged int, err error) {
	images, err := s.store.Images()
	if err != nil {
		return 0, 0, fmt.Errorf("list snapshots: %w", err)
	}
	total := 0
	for _, image := range images {
		total += len(image.Names)
	}
	done, read := 0, map[string]bool{}
	for _, image := range images {
		for _, name := range image.Names {
			if progress != nil {
				progress(done, total)
			}
			done++
			all++
			_, err := s.check(ctx, name, &image, read)
			if err == nil {
				continue
			}
			switch err := s.discard(name, &image, err); {
			case errors.Is(err, errDamaged):
				damaged++
			case errors.Is(err, fs.ErrNotExist): // it has just been removed
				all--
			default:
				return all, damaged, err
			}
		}
	}
	return all, damaged, nil
}

// errDamaged marks the errors of snapshots that were removed because of damage.
var errDamaged = fmt.Errorf("it was damaged and has been removed: %w", fs.ErrNotExist)
