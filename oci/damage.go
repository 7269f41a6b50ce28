package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.podman.io/storage"

	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Damage is what an Engine found damaged in its store and has removed.
type Damage struct {
	// Snapshot is which one it was; without a name it was the store as a whole, with all snapshots.
	Snapshot types.Snapshot
	// Err says what is wrong.
	Err error
}

// sound gives the image of a snapshot that is what was written. One that is damaged is removed. The error wraps
// fs.ErrNotExist if there is none of that name, or not any more.
func (e *Engine) sound(ctx context.Context, name string) (*storage.Image, snapshotRecord, error) {
	image, err := e.store.Image(name)
	if err != nil {
		return nil, snapshotRecord{}, notExist(name, err)
	}
	record, err := e.check(ctx, name, image, nil)
	if err != nil {
		return nil, record, e.discard(name, image, err)
	}
	return image, record, nil
}

// discard removes a snapshot in which check has found damage. The error wraps errDamaged then, and otherwise says what
// else is wrong. Without its name a snapshot cannot be found again, whatever becomes of the rest.
func (e *Engine) discard(name string, image *storage.Image, err error) error {
	var d *damage
	if !errors.As(err, &d) {
		return fmt.Errorf("snapshot %q: %w", name, err)
	}
	if now, err := e.store.Image(name); err != nil || now.ID != image.ID {
		// Somebody has removed or replaced it, and what was looked at is gone.
		return notExist(name, cmp.Or(err, storage.ErrImageUnknown))
	}
	if err := e.store.SetNames(image.ID, nil); err != nil {
		return fmt.Errorf("remove the damaged snapshot %q: %w", name, err)
	}
	if _, err := e.store.DeleteImage(image.ID, true); err != nil {
		e.options.Log.Info("a damaged snapshot is not removed as a whole", "name", name, "error", err)
	}
	e.tell(Damage{infoOf(name, image), err})
	return fmt.Errorf("snapshot %q: %w: %w", name, errDamaged, err)
}

// tell tells of damage.
func (e *Engine) tell(d Damage) {
	e.options.Log.Info("damage in the container store", "snapshot", d.Snapshot.Name, "error", d.Err)
	if e.options.Damaged != nil {
		e.options.Damaged(d)
	}
}

// noteDamage remembers that a layer is damaged: several snapshots can rest on it, and each is found with all of its
// layers.
func (e *Engine) noteDamage(layer string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.damaged == nil {
		e.damaged = map[string]error{}
	}
	e.damaged[layer] = err
}

// damagedBefore gives what was found wrong with a layer.
func (e *Engine) damagedBefore(layer string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.damaged[layer]
}

// Verify reads all that snapshots are made of, and removes those that are not what was written. EngineOptions.Damaged
// is told of each. The numbers are those of the snapshots that were there, and of the damaged ones among them.
func (e *Engine) Verify(ctx context.Context) (all, damaged int, err error) {
	images, err := e.store.Images()
	if err != nil {
		return 0, 0, fmt.Errorf("list snapshots: %w", err)
	}
	read := map[string]bool{}
	for _, image := range images {
		for _, name := range image.Names {
			all++
			_, err := e.check(ctx, name, &image, read)
			if err == nil {
				continue
			}
			switch err := e.discard(name, &image, err); {
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
