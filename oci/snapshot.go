package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containers/storage"
)

// Snapshot keeps the present state of the container as an image of that name, and goes on above it at another Root. An
// older image of the name is replaced. Nothing is copied if the driver is overlay; vfs copies everything. A snapshot that
// is not finished has no name yet and cannot be seen.
//
// After an error the container may only be closed.
func (c *Container) Snapshot(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.snapshot(ctx, name); err != nil {
		return fmt.Errorf("snapshot %q: %w", name, err)
	}
	return nil
}

func (c *Container) snapshot(ctx context.Context, name string) error {
	store := c.engine.store
	layer := c.layer
	c.layer, c.root = "", ""
	if err := c.engine.driver.Put(layer); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	image, err := c.engine.createImage(layer)
	if err != nil {
		return errors.Join(err, store.DeleteLayer(layer))
	}
	older, err := store.Image(name)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return err
	}
	// First the image gets its name, then the layer loses that of the work. If the process is killed in between, the next
	// one sees that the layer is in use, see removeLeftover.
	if err := store.AddNames(image, []string{name}); err != nil {
		return err
	}
	if err := store.SetNames(layer, nil); err != nil {
		return err
	}
	if older != nil {
		if _, err := store.DeleteImage(older.ID, true); err != nil && !errors.Is(err, storage.ErrNotAnImage) {
			return fmt.Errorf("remove the older one: %w", err)
		}
	}
	return c.begin(ctx, layer)
}

// createImage makes an image without a name of a layer. It is a record of this store: a manifest and a configuration
// would name digests of packed layers, and packing them is what a snapshot avoids. Export does it.
func (e *Engine) createImage(layer string) (id string, err error) {
	image, err := e.store.CreateImage("", nil, layer, "", nil)
	if err != nil {
		return "", fmt.Errorf("record the image: %w", err)
	}
	return image.ID, nil
}

// Has reports whether there is a snapshot of that name.
func (e *Engine) Has(name string) bool {
	_, err := e.store.Image(name)
	return err == nil
}

// Snapshots lists the names of all snapshots, sorted.
func (e *Engine) Snapshots() ([]string, error) {
	images, err := e.store.Images()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.Names...)
	}
	slices.Sort(names)
	return names, nil
}

// Remove removes a snapshot, and its layers as far as no other snapshot or container needs them. The error wraps
// fs.ErrNotExist if there is none of that name.
func (e *Engine) Remove(name string) error {
	image, err := e.store.Image(name)
	if err != nil {
		return notExist(name, err)
	}
	if _, err := e.store.DeleteImage(image.ID, true); err != nil {
		return notExist(name, err)
	}
	return nil
}
