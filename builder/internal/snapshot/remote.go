// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
)

// remoteForms are the places of --cache-from and --cache-to, for their help and their errors.
const remoteForms = "docker://REGISTRY/REPO, oci:DIR"

// RemoteForms lists what a place of --cache-from and --cache-to looks like.
func RemoteForms() string { return remoteForms }

// Remote is a place at which machines share snapshots, each as an image with a tag: a repository of a registry, or a
// directory that is an OCI image layout.
type Remote struct {
	// Transport is "docker" or "oci".
	Transport string
	// Path is that of the directory, or of the repository with its registry.
	Path string
}

// ParseRemote reads a place of --cache-from and --cache-to.
func ParseRemote(text string) (Remote, error) {
	kind, path, _ := strings.Cut(text, ":")
	switch kind {
	case transport.OCI:
		switch {
		case path == "":
			return Remote{}, fmt.Errorf("%q names no directory", transport.Redact(text))
		case strings.Contains(path, ":"):
			return Remote{}, fmt.Errorf("%q: tags are chosen by the cache: write %s:DIR", transport.Redact(text),
				transport.OCI)
		}
		return Remote{transport.OCI, filepath.Clean(path)}, nil
	case transport.Docker:
		shown := transport.Redact(text)
		name, slashes := strings.CutPrefix(path, "//")
		if !slashes {
			return Remote{}, fmt.Errorf("%q: a registry is written docker://REGISTRY/REPO", shown)
		}
		named, err := reference.ParseNormalizedNamed(name)
		switch {
		case err != nil:
			return Remote{}, fmt.Errorf("%q: %q is no name of a repository: %w", shown, transport.Redact(name), err)
		case !reference.IsNameOnly(named):
			return Remote{}, fmt.Errorf("%q: tags are chosen by the cache: write docker://%s", shown, named.Name())
		case !transport.NamesRegistry(name):
			return Remote{}, fmt.Errorf("%q names no registry: write docker://REGISTRY/%s", shown,
				transport.Redact(name))
		}
		return Remote{transport.Docker, named.Name()}, nil
	default:
		return Remote{}, fmt.Errorf("%q is none of %s", transport.Redact(text), remoteForms)
	}
}

// String is what ParseRemote reads.
func (r Remote) String() string {
	if r.Transport == transport.Docker {
		return transport.Docker + "://" + r.Path
	}
	return r.Transport + ":" + r.Path
}

// tag is the name of a snapshot's image: "step-" and the digest.
func (r Remote) tag(snapshot string) string {
	return strings.ReplaceAll(strings.TrimPrefix(snapshot, NamePrefix), ":", "-")
}

// image is a snapshot's image in the words of containers-transports(5).
func (r Remote) image(snapshot string) string { return r.String() + ":" + r.tag(snapshot) }

// isEmpty reports whether a place is a directory that is not there, or has nothing in it.
func (r Remote) isEmpty() bool {
	if r.Transport != transport.OCI {
		return false
	}
	entries, err := os.ReadDir(r.Path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// checkTarget reports why snapshots cannot be put at a place of this machine. It makes no directory: that comes with
// the first snapshot.
func (r Remote) checkTarget() error {
	if r.Transport != transport.OCI {
		return nil
	}
	if err := ociimage.CheckTarget(r.Path); err != nil {
		return err
	}
	// Modes and capabilities do not tell all: file systems can be full, or read-only, or another machine's.
	written := []string{r.Path, filepath.Join(r.Path, imgspec.ImageBlobsDir, string(digest.SHA256))}
	if _, err := os.Stat(r.Path); errors.Is(err, fs.ErrNotExist) {
		written = []string{filepath.Dir(r.Path)}
	}
	for _, dir := range written {
		f, err := os.CreateTemp(dir, ".vmdebootstrap-")
		if errors.Is(err, fs.ErrNotExist) && dir != written[0] {
			continue // it comes with the first blob
		}
		if err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
		if err != nil {
			return fmt.Errorf("write to %q: %w", dir, err)
		}
	}
	return nil
}
