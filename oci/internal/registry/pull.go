// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	imagetypes "go.podman.io/image/v5/types"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// ImagePull says which image of a registry to get.
type ImagePull struct {
	// Source is in the words of containers-transports(5): "docker://…".
	Source string
	// Dir is a directory for images that are being pulled; it is made if it is missing.
	Dir string
	// Architecture and Variant, as Go and container images call them, choose between images for several.
	Architecture, Variant string
	// AuthFile is the value of $REGISTRY_AUTH_FILE; without it the files of podman and docker are looked at.
	AuthFile string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
	// Progress, if not nil, is called about twice a second with the bytes of layers that have arrived.
	Progress func(bytes int64)
}

// Pull gets an image of a registry as an OCI image layout in a directory of its own below Dir. The caller
// calls remove when the image is not needed any more; what a killed process has left there is removed by the
// next call. No user namespace and no Engine are needed. Signatures are checked as containers-policy.json(5)
// says, if that file is there.
func Pull(ctx context.Context, p ImagePull) (dir string, remove func() error, err error) {
	dir, remove, err = PullDir(p.Dir)
	if err != nil {
		return "", nil, err
	}
	if err := p.copyTo(ctx, dir); err != nil {
		return "", nil, errors.Join(fmt.Errorf("get %s: %w", p.Source, err), remove())
	}
	return dir, remove, nil
}

func (p ImagePull) copyTo(ctx context.Context, dir string) (err error) {
	src, err := alltransports.ParseImageName(p.Source)
	if err != nil {
		return err
	}
	dst, err := layout.NewReference(dir, "")
	if err != nil {
		return err
	}
	r := request{TempDir: dir, AuthFile: p.AuthFile, SkipTLSVerify: p.SkipTLSVerify, Caller: os.Getuid()}
	if err := r.findCredentials(); err != nil {
		return err
	}
	system := r.systemContext()
	system.OSChoice, system.ArchitectureChoice, system.VariantChoice = "linux", p.Architecture, p.Variant
	system.OCIAcceptUncompressedLayers = true // what is not compressed need not be
	policy, err := pullPolicy(system)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	// A layout has no place for signatures; the policy looks at them all the same.
	options := &copy.Options{SourceCtx: system, DestinationCtx: system, RemoveSignatures: true}
	defer follow(options, p.Progress)()
	_, err = copy.Image(ctx, policy, dst, src, options)
	return err
}

// pullPolicy is the policy of this machine. One that says nothing takes every image, as docker does.
func pullPolicy(system *imagetypes.SystemContext) (*signature.PolicyContext, error) {
	policy, err := signature.DefaultPolicy(system)
	if errors.Is(err, fs.ErrNotExist) {
		policy, err = &signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy for signatures of images: %w", err)
	}
	return signature.NewPolicyContext(policy)
}

// PullPrefix begins the names of the directories of Pull.
const PullPrefix = "pull-"

// PullDir makes a directory that nobody else removes as long as this process lives, and removes those of dead ones.
func PullDir(parent string) (dir string, remove func() error, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, err
	}
	old, err := filepath.Glob(filepath.Join(parent, PullPrefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range old {
		if err := dirfd.RemoveUnlocked(name); err != nil {
			return "", nil, err
		}
	}
	dir, lock, err := dirfd.MakeLocked(func() (string, error) { return os.MkdirTemp(parent, PullPrefix) })
	if err != nil {
		return "", nil, err
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), dirfd.Unlock(lock)) }, nil
}
