// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	imagetypes "go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// PullLocal copies an image of a container store of this machine to an OCI image layout, as Pull does with an image of
// a registry. Its source is "containers-storage:IMAGE" for the store of the caller's podman, or
// "containers-storage:[DRIVER@GRAPHROOT]IMAGE". The store is opened as an additional image store, which is read-only:
// see containers-storage.conf(5).
func (r *Registry) PullLocal(ctx context.Context, p ImagePull, environ []string) (dir string, remove func() error,
	err error) {
	dir, remove, err = PullDir(p.Dir)
	if err != nil {
		return "", nil, err
	}
	order := request{Do: doExport, Image: p.Source, Layout: dir, Architecture: p.Architecture, Variant: p.Variant,
		Progress: p.Progress != nil}
	if _, err := r.imageHelper(ctx, order, environ, nil, p.Progress); err != nil {
		return "", nil, errors.Join(fmt.Errorf("read %s: %w", p.Source, err), remove())
	}
	return dir, remove, nil
}

// export copies an image of a store to a layout.
func (o request) export(ctx context.Context) (err error) {
	// The store to which the other one is an additional one: it stays empty.
	temp, err := os.MkdirTemp(o.TempDir, "store-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	store, name, err := o.openLocal(temp)
	if err != nil {
		return err
	}
	defer func() {
		_, shutdown := store.Shutdown(true)
		err = errors.Join(err, shutdown)
	}()
	src, err := localImage(store, name)
	if err != nil {
		return err
	}
	dst, err := layout.NewReference(o.Layout, "")
	if err != nil {
		return err
	}
	system := o.systemContext()
	system.OSChoice, system.ArchitectureChoice, system.VariantChoice = "linux", o.Architecture, o.Variant
	system.OCIAcceptUncompressedLayers = true // the layers of a store are not compressed
	// The image is the caller's own.
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	options := &copy.Options{SourceCtx: system, DestinationCtx: system, RemoveSignatures: true}
	if o.Progress {
		defer follow(options, writeProgress(os.NewFile(fdProgress, "progress")))()
	}
	_, err = copy.Image(ctx, policy, dst, src, options)
	return err
}

// openLocal opens the store that the image is in, and returns the name that the image has there.
func (o request) openLocal(temp string) (storage.Store, string, error) {
	options, err := storage.DefaultStoreOptions()
	if err != nil {
		return nil, "", err
	}
	name := strings.TrimPrefix(o.Image, istorage.Transport.Name()+":")
	if spec, rest, ok := strings.Cut(name, "]"); ok && strings.HasPrefix(spec, "[") {
		name, options = rest, storeOptions(spec[1:])
	}
	driver, err := storeDriver(options)
	if err != nil {
		return nil, "", err
	}
	readOnly := storage.StoreOptions{
		GraphRoot: filepath.Join(temp, "graph"), RunRoot: filepath.Join(temp, "run"), GraphDriverName: driver,
	}
	for _, option := range options.GraphDriverOptions {
		if strings.HasPrefix(option, driver+".") {
			readOnly.GraphDriverOptions = append(readOnly.GraphDriverOptions, option)
		}
	}
	for _, root := range []string{options.GraphRoot, options.ImageStore} {
		if root != "" {
			readOnly.GraphDriverOptions = append(readOnly.GraphDriverOptions, driver+".imagestore="+root)
		}
	}
	store, err := storage.GetStore(readOnly)
	if err != nil {
		return nil, "", fmt.Errorf("open the store %s: %w", options.GraphRoot, err)
	}
	return store, name, nil
}

// storeOptions reads what is in the brackets of containers-transports(5): DRIVER@GRAPHROOT+RUNROOT:OPTIONS, of which
// only GRAPHROOT is needed.
func storeOptions(spec string) storage.StoreOptions {
	driver, rest, named := strings.Cut(spec, "@")
	if !named {
		driver, rest = "", spec
	}
	rest, given, _ := strings.Cut(rest, ":")
	root, _, _ := strings.Cut(rest, "+")
	options := storage.StoreOptions{GraphDriverName: driver, GraphRoot: root}
	if given != "" {
		options.GraphDriverOptions = strings.Split(given, ",")
	}
	return options
}

// storeDriver returns the driver of a store that exists. That of the options may be only the library's default.
func storeDriver(options storage.StoreOptions) (string, error) {
	drivers := []string{"overlay", "vfs"} // those that are built in
	if given := options.GraphDriverName; slices.Contains(drivers, given) {
		drivers = append([]string{given}, drivers...)
	}
	for _, driver := range drivers {
		_, err := os.Stat(filepath.Join(options.GraphRoot, driver+"-images"))
		if err == nil {
			return driver, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s is no container store with the driver overlay or vfs: %w", options.GraphRoot, errNoStore)
}

// errNoStore says that there is no image because there is no store.
var errNoStore = errors.New("nothing was stored there yet")

// localImage finds an image by its name or ID. A name without a registry is first one of localhost, as podman calls
// images that were made on this machine.
func localImage(store storage.Store, name string) (imagetypes.ImageReference, error) {
	names := []string{name}
	if named, err := reference.ParseNormalizedNamed(name); err == nil && reference.Domain(named) == "docker.io" &&
		!strings.HasPrefix(name, "docker.io/") {
		names = []string{"localhost/" + name, name}
	}
	for _, candidate := range names {
		ref, err := istorage.Transport.ParseStoreReference(store, candidate)
		if err != nil {
			return nil, err
		}
		found, _, err := istorage.ResolveReference(ref)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, istorage.ErrNoSuchImage) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", name, istorage.ErrNoSuchImage)
}
