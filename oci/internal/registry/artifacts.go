// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	imagetypes "go.podman.io/image/v5/types"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// pushArtifacts pushes the artifacts of a layout whose image the registry has. The library go.podman.io/image pushes
// images only: of a registry that does not list what refers to an image, as those before version 1.1 of the
// distribution specification, it does not keep the list in their place ("Referrers Tag Schema").
func (o request) pushArtifacts(ctx context.Context, system *imagetypes.SystemContext,
	dst imagetypes.ImageReference) error {
	named := dst.DockerReference()
	if named == nil {
		return fmt.Errorf("BUG: %s has no artifacts", dst.Transport().Name())
	}
	repository, err := openRepository(ctx, system, named)
	if err != nil {
		return err
	}
	layout, err := oci.NewStorage(o.Layout)
	if err != nil {
		return err
	}
	for _, a := range o.Artifacts {
		manifest := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, ArtifactType: a.Type, Digest: a.Digest,
			Size: a.Size}
		// The image is the subject of its artifacts, and there already.
		if err := oras.CopyGraph(ctx, layout, repository, manifest, oras.DefaultCopyGraphOptions); err != nil {
			return fmt.Errorf("attach %s to the image: %w", a.Type, err)
		}
	}
	return nil
}

// openRepository opens a repository with what the files of go.podman.io/image say of its registry.
func openRepository(ctx context.Context, system *imagetypes.SystemContext, named reference.Named) (*remote.Repository,
	error) {
	host := reference.Domain(named)
	repository, err := remote.NewRepository(named.Name())
	if err != nil {
		return nil, err
	}
	// What is pushed replaces no list of the registry that somebody may be reading.
	repository.SkipReferrersGC = true
	insecure := system.DockerInsecureSkipTLSVerify == imagetypes.OptionalBoolTrue
	if known, err := sysregistriesv2.FindRegistry(system, named.Name()); err != nil {
		return nil, err
	} else if known != nil && known.Insecure {
		insecure = true
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: insecure} //nolint:gosec // the user asks for it
	if err := addCertificates(host, transport.TLSClientConfig); err != nil {
		return nil, err
	}
	login, err := config.GetCredentialsForRef(system, named)
	if err != nil {
		return nil, err
	}
	repository.Client = &auth.Client{
		Client: &http.Client{Transport: transport},
		Header: http.Header{"User-Agent": {system.DockerRegistryUserAgent}},
		Cache:  auth.NewCache(),
		Credential: auth.StaticCredential(repository.Reference.Host(), auth.Credential{
			Username: login.Username, Password: login.Password, RefreshToken: login.IdentityToken,
		}),
	}
	if insecure {
		// As go.podman.io/image: first with TLS.
		server := &remote.Registry{RepositoryOptions: remote.RepositoryOptions{
			Client: repository.Client, Reference: repository.Reference}}
		repository.PlainHTTP = server.Ping(ctx) != nil
	}
	return repository, nil
}

// addCertificates adds the certificates that the user or the host has for a registry (containers-certs.d(5)), from the
// first directory that there is.
func addCertificates(host string, c *tls.Config) error {
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".config/containers/certs.d"))
	}
	for _, dir := range append(dirs, "/etc/containers/certs.d", "/etc/docker/certs.d") {
		dir = filepath.Join(dir, host)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		return tlsclientconfig.SetupCertificates(dir, c)
	}
	return nil
}
