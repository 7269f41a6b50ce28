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

// remoteForms lists the forms of --cache-from and --cache-to, for their help and errors.
const remoteForms = "docker://REGISTRY/REPO, oci:DIR"

// RemoteForms returns the forms of --cache-from and --cache-to.
func RemoteForms() string { return remoteForms }

// Remote is a location at which machines share snapshots, each as a tagged image: a repository of a registry, or a
// directory with an OCI image layout.
type Remote struct {
	// Transport is "docker" or "oci".
	Transport string
	// Path is the path of the directory, or the repository with its registry.
	Path string
}

// ParseRemote parses a value of --cache-from or --cache-to.
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
			return Remote{}, fmt.Errorf("%q: invalid repository name %q: %w", shown, transport.Redact(name), err)
		case !reference.IsNameOnly(named):
			return Remote{}, fmt.Errorf("%q: tags are chosen by the cache: write docker://%s", shown, named.Name())
		case !transport.NamesRegistry(name):
			return Remote{}, fmt.Errorf("%q names no registry: write docker://REGISTRY/%s", shown,
				transport.Redact(name))
		}
		return Remote{transport.Docker, named.Name()}, nil
	default:
		return Remote{}, fmt.Errorf("unknown location %q; want one of %s", transport.Redact(text), remoteForms)
	}
}

// String returns the form that ParseRemote parses.
func (r Remote) String() string {
	if r.Transport == transport.Docker {
		return transport.Docker + "://" + r.Path
	}
	return r.Transport + ":" + r.Path
}

// tag returns the tag of a snapshot's image: "step-" and the digest.
func (r Remote) tag(snapshot string) string {
	return strings.ReplaceAll(strings.TrimPrefix(snapshot, NamePrefix), ":", "-")
}

// image returns the name of a snapshot's image in the syntax of containers-transports(5).
func (r Remote) image(snapshot string) string { return r.String() + ":" + r.tag(snapshot) }

// isEmpty reports whether a remote is a missing or empty directory.
func (r Remote) isEmpty() bool {
	if r.Transport != transport.OCI {
		return false
	}
	entries, err := os.ReadDir(r.Path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// checkTarget returns an error if snapshots cannot be pushed to a local directory. It does not make the directory: the
// first snapshot does.
func (r Remote) checkTarget() error {
	if r.Transport != transport.OCI {
		return nil
	}
	if err := ociimage.CheckTarget(r.Path); err != nil {
		return err
	}
	// Modes and capabilities are not enough: file systems can be full, read-only or remote.
	written := []string{r.Path, filepath.Join(r.Path, imgspec.ImageBlobsDir, string(digest.SHA256))}
	if _, err := os.Stat(r.Path); errors.Is(err, fs.ErrNotExist) {
		written = []string{filepath.Dir(r.Path)}
	}
	for _, dir := range written {
		f, err := os.CreateTemp(dir, ".vmdebootstrap-")
		if errors.Is(err, fs.ErrNotExist) && dir != written[0] {
			continue // the first blob makes it
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
