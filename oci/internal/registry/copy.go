// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports/alltransports"
	imagetypes "go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// CopyImage copies an image out of an OCI layout. Credentials are those of $REGISTRY_AUTH_FILE, podman's auth.json or
// docker's config.json; what is in the store of the caller's podman is owned as podman itself would have it.
//
// The work is done by this program in another process, with the caller's environment: the libraries ask the environment
// for many things, and an Engine needs it otherwise.
func (r *Registry) CopyImage(ctx context.Context, c types.ImageCopy) error {
	if err := r.copyImage(ctx, c, false); err != nil {
		return fmt.Errorf("write %s: %w", c.Destination, err)
	}
	return nil
}

// CheckDestination finds out, without an image, whether a registry answers and takes the caller's
// credentials, and whether the caller's store can be opened.
func (r *Registry) CheckDestination(ctx context.Context, c types.ImageCopy) error {
	if err := r.copyImage(ctx, c, true); err != nil {
		return fmt.Errorf("reach %s: %w", c.Destination, err)
	}
	return nil
}

// copyImage has the helper do the work.
func (r *Registry) copyImage(ctx context.Context, c types.ImageCopy, checkOnly bool) error {
	order := request{Do: doCopy, Layout: c.Layout, Image: c.Destination, SkipTLSVerify: c.SkipTLSVerify,
		Artifacts: c.Artifacts, File: c.File != nil, Progress: c.Progress != nil && !checkOnly}
	if checkOnly {
		order.Do = doCheck
	}
	_, err := r.imageHelper(ctx, order, c.Environ, c.File, c.Progress)
	return err
}

// copy copies an image out of a layout.
func (o request) copy(ctx context.Context) (err error) {
	dst, err := alltransports.ParseImageName(o.Image)
	if err != nil {
		return err
	}
	system := o.systemContext()
	src, err := layout.NewReference(o.Layout, "")
	if err != nil {
		return err
	}
	// The image is our own.
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	options := &copy.Options{
		SourceCtx: system, DestinationCtx: system,
		// An archive of docker has a manifest of its own, without compression. Everywhere else the digest stays.
		PreserveDigests: !o.File,
	}
	if o.Progress {
		defer follow(options, writeProgress(os.NewFile(fdProgress, "progress")))()
	}
	if _, err = copy.Image(ctx, policy, dst, src, options); err != nil || len(o.Artifacts) == 0 {
		return err
	}
	return o.pushArtifacts(ctx, system, dst)
}

// check finds out whether an image could be written, and writes nothing.
func (o request) check(ctx context.Context) (err error) {
	dst, err := alltransports.ParseImageName(o.Image)
	if err != nil {
		return err
	}
	system := o.systemContext()
	if dst.Transport().Name() == istorage.Transport.Name() {
		options, err := storage.DefaultStoreOptions()
		if err != nil {
			return err
		}
		store, err := storage.GetStore(options)
		if err != nil {
			return err
		}
		_, err = store.Shutdown(false)
		return err
	}
	d, err := dst.NewImageDestination(ctx, system)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Any digest will do: the question needs the right to push.
	_, _, err = d.TryReusingBlob(ctx, imagetypes.BlobInfo{Digest: digest.FromString(process.NameImage), Size: -1},
		none.NoCache, false)
	return err
}
