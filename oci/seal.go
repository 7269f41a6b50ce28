// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/filetree"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// A snapshot is used only if its layers still are what was written. When one is made, the digests of its tree are
// noted: of what lstat(2) tells, which is compared on each use, and of the contents, which are compared when the first
// digest has changed (a restored backup has new ctimes), on the first use in a boot of the machine, as nothing forces
// layers to the disk, and after maxUnread.

// maxUnread is how long the contents of a layer that is used again and again are believed in without a look. Disks that
// lose bits are rare, and a machine may run for months: once a week a second of reading is cheap.
const maxUnread = 7 * 24 * time.Hour

// seal is what the store notes of a snapshot's layer, as its metadata.
type seal struct {
	// Looks and Contents are the digests of the layer's tree.
	Looks    digest.Digest `json:"looks"`
	Contents digest.Digest `json:"contents"`
	// Read is when the contents were last compared, and Boot the boot of the machine in which that was.
	Read time.Time `json:"read"`
	Boot string    `json:"boot"`
}

// sealedLayer is a layer of a snapshot as the snapshot notes it. A layer that the indexes of the store exchange for
// another has another ID or other contents.
type sealedLayer struct {
	ID       string        `json:"id"`
	Contents digest.Digest `json:"contents"`
}

// damage is why a snapshot cannot be used.
type damage struct{ err error }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

func damagef(format string, args ...any) error { return &damage{fmt.Errorf(format, args...)} }

// asDamage takes an error of reading a layer for damage, unless the fault is elsewhere.
func asDamage(err error) error {
	for _, other := range []error{context.Canceled, context.DeadlineExceeded, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, other) {
			return err
		}
	}
	return &damage{err}
}

// layerDir is where the driver keeps a layer, and treeDir the layer's own files in it.
func (s *Store) layerDir(id string) string {
	if s.Driver() == host.DriverVFS {
		return filepath.Join(s.graph, host.DriverVFS, "dir", id)
	}
	return filepath.Join(s.graph, s.Driver(), id)
}

func (s *Store) treeDir(id string) string {
	if s.Driver() == host.DriverVFS {
		return s.layerDir(id)
	}
	return filepath.Join(s.layerDir(id), "diff")
}

// seal notes the digests of a finished layer, and returns what a snapshot notes of it, and its size.
func (s *Store) seal(ctx context.Context, layer string) (sealedLayer, int64, error) {
	t, err := filetree.Scan(ctx, s.treeDir(layer))
	if err != nil {
		return sealedLayer{}, 0, err
	}
	digests := seal{Looks: t.Looks(), Read: s.options.Now(), Boot: s.boot}
	if digests.Contents, err = t.Contents(ctx); err != nil {
		return sealedLayer{}, 0, err
	}
	return sealedLayer{layer, digests.Contents}, t.Size(), s.noteSeal(layer, digests)
}

func (s *Store) noteSeal(layer string, digests seal) error {
	text, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return s.store.SetMetadata(layer, string(text))
}

func readSeal(layer *storage.Layer) (seal, error) {
	var s seal
	err := json.Unmarshal([]byte(layer.Metadata), &s)
	return s, err
}

// check compares a snapshot with what is noted of it. The error is a *damage if it is not what it was. If read is not
// nil, the contents are read in any case, but for those of layers in it; then they are in it.
func (s *Store) check(ctx context.Context, name string, image *storage.Image, read map[string]bool) (snapshotRecord,
	error) {
	record := recordOf(image)
	if record.Sum == "" {
		return record, damagef("it is of an older version of this program, or its record is damaged")
	}
	if record.Sum != record.sum(name) {
		return record, damagef("its record is damaged")
	}
	layers, err := s.chain(image.TopLayer)
	if err != nil {
		return record, err
	}
	if !slices.EqualFunc(layers, record.Layers,
		func(l *storage.Layer, want sealedLayer) bool { return l.ID == want.ID }) {
		return record, damagef("it rests on other layers than it was made of")
	}
	for i, l := range layers {
		err := s.damagedBefore(l.ID)
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

// chain returns a layer and those below it, the lowest first.
func (s *Store) chain(id string) ([]*storage.Layer, error) {
	var chain []*storage.Layer
	for id != "" {
		layer, err := s.store.Layer(id)
		if errors.Is(err, storage.ErrLayerUnknown) {
			return nil, damagef("layer %s is gone", id)
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(chain, func(l *storage.Layer) bool { return l.ID == layer.ID }) {
			return nil, damagef("layer %s rests on itself", id)
		}
		chain = append(chain, layer)
		id = layer.Parent
	}
	slices.Reverse(chain)
	return chain, nil
}

// checkLayer compares a layer with its seal; thorough reads the contents in any case.
func (s *Store) checkLayer(ctx context.Context, layer *storage.Layer, contents digest.Digest,
	thorough bool) (err error) {
	defer func() {
		var d *damage
		if errors.As(err, &d) {
			s.noteDamage(layer.ID, err)
		}
	}()
	if err := s.checkLinks(layer); err != nil {
		return asDamage(err)
	}
	digests, err := readSeal(layer)
	if err != nil || digests.Contents != contents {
		return damagef("what is noted of it is damaged")
	}
	t, err := filetree.Scan(ctx, s.treeDir(layer.ID))
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
			return damagef("the contents of its files have changed, and nothing else")
		}
		return damagef("its files have changed")
	}
	digests.Looks, digests.Read, digests.Boot = looks, now, s.boot
	if err := s.noteSeal(layer.ID, digests); err != nil && !errors.Is(err, storage.ErrNotAnID) {
		return fmt.Errorf("note that layer %s was read: %w", layer.ID, err)
	}
	return nil
}

// checkLinks compares what the driver overlay notes of a layer's parents with the store: by that alone it knows what to
// mount. Drivers/overlay/overlay.go of containers/storage tells of the files.
func (s *Store) checkLinks(layer *storage.Layer) error {
	if s.Driver() != host.DriverOverlay {
		return nil
	}
	own, lowers, err := s.overlayNotes(layer.ID)
	if err != nil {
		return err
	}
	target, err := os.Readlink(filepath.Join(s.graph, host.DriverOverlay, "l", own))
	if err != nil {
		return err
	}
	if target != filepath.Join("..", layer.ID, "diff") {
		return fmt.Errorf("the store's link to it leads to %s", target)
	}
	want := ""
	if layer.Parent != "" {
		parent, above, err := s.overlayNotes(layer.Parent)
		if err != nil {
			return err
		}
		want = filepath.Join("l", parent)
		if above != "" {
			want += ":" + above
		}
	}
	if lowers != want {
		return errors.New("the store's note of the layers below it is damaged")
	}
	return nil
}

// overlayNotes reads a layer's short name, and those of the layers below it as they are mounted.
func (s *Store) overlayNotes(layer string) (own, lowers string, err error) {
	text, err := os.ReadFile(filepath.Join(s.layerDir(layer), "link"))
	if err != nil {
		return "", "", err
	}
	below, err := os.ReadFile(filepath.Join(s.layerDir(layer), "lower"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", err
	}
	return string(text), string(below), nil
}

// sum is a digest of all of a record that stays the same, and of the snapshot's name.
func (r snapshotRecord) sum(name string) digest.Digest {
	r.Sum, r.Used = "", time.Time{}
	text, err := json.Marshal(r)
	if err != nil {
		panic("BUG: " + err.Error()) // there is nothing in it that JSON has not
	}
	h := filetree.NewFieldHash()
	h.Text(name, string(text))
	return h.Digest()
}

// Damage is what an Engine found damaged in its store and has removed.
type Damage struct {
	// Snapshot is which one it was; without a name it was the store as a whole, with all snapshots.
	Snapshot types.Snapshot
	// Err says what is wrong.
	Err error
}

// sound returns the image of a snapshot that is what was written. One that is damaged is removed. The error wraps
// fs.ErrNotExist if there is none of that name, or not any more.
func (s *Store) sound(ctx context.Context, name string) (*storage.Image, snapshotRecord, error) {
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

// discard removes a snapshot in which check has found damage. The error wraps errDamaged then, and otherwise says what
// else is wrong. Without its name a snapshot cannot be found again, whatever becomes of the rest.
func (s *Store) discard(name string, image *storage.Image, err error) error {
	var d *damage
	if !errors.As(err, &d) {
		return fmt.Errorf("snapshot %q: %w", name, err)
	}
	if now, err := s.store.Image(name); err != nil || now.ID != image.ID {
		// Somebody has removed or replaced it, and what was looked at is gone.
		return notExist(name, cmp.Or(err, storage.ErrImageUnknown))
	}
	if err := s.store.SetNames(image.ID, nil); err != nil {
		return fmt.Errorf("remove the damaged snapshot %q: %w", name, err)
	}
	if _, err := s.store.DeleteImage(image.ID, true); err != nil {
		s.options.Log.Info("a damaged snapshot is not removed as a whole", "name", name, "error", err)
	}
	s.tell(Damage{infoOf(name, image), err})
	return fmt.Errorf("snapshot %q: %w: %w", name, errDamaged, err)
}

// tell tells of damage.
func (s *Store) tell(d Damage) {
	s.options.Log.Info("damage in the container store", "snapshot", d.Snapshot.Name, "error", d.Err)
	if s.options.Damaged != nil {
		s.options.Damaged(d)
	}
}

// noteDamage remembers that a layer is damaged: several snapshots can rest on it, and each is found with all of its
// layers.
func (s *Store) noteDamage(layer string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damaged == nil {
		s.damaged = map[string]error{}
	}
	s.damaged[layer] = err
}

// damagedBefore returns what was found wrong with a layer.
func (s *Store) damagedBefore(layer string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged[layer]
}

// Verify reads all that snapshots are made of, and removes those that are not what was written. EngineOptions.Damaged
// is told of each. The numbers are those of the snapshots that were there, and of the damaged ones among them.
func (s *Store) Verify(ctx context.Context) (all, damaged int, err error) {
	images, err := s.store.Images()
	if err != nil {
		return 0, 0, fmt.Errorf("list snapshots: %w", err)
	}
	read := map[string]bool{}
	for _, image := range images {
		for _, name := range image.Names {
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

// errDamaged marks the errors of snapshots that were removed because they were damaged.
var errDamaged = fmt.Errorf("it was damaged and is removed: %w", fs.ErrNotExist)
