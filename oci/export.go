package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containers/buildah"
	"github.com/containers/buildah/define"
	nettypes "github.com/containers/common/libnetwork/types"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/archive"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExportOptions say what an image looks like outside of the store.
type ExportOptions struct {
	// Format is "oci" (a directory), "oci-archive" or "docker-archive" (files).
	Format string
	// Path is the directory or file. A file must not exist; it is not written atomically.
	Path string
	// Name is what the image is called in there, such as "localhost/debian:trixie"; empty for no name.
	Name string
	// Compression of the layer is "zstd", "gzip" or empty for none. A docker-archive never has any.
	Compression string
	// Architecture is that of the programs, in Go's words: "arm64".
	Architecture string
	// Created is the image's time; the files keep theirs.
	Created time.Time
	// Env and Cmd are what a container of the image starts with. Env has the form NAME=VALUE.
	Env map[string]string
	Cmd []string
}

// exportFormats knows for each format which manifest goes into it.
var exportFormats = map[string]string{
	"oci":            define.OCIv1ImageManifest,
	"oci-archive":    define.OCIv1ImageManifest,
	"docker-archive": define.Dockerv2ImageManifest,
}

var exportCompressions = map[string]archive.Compression{
	"": archive.Uncompressed, "gzip": archive.Gzip, "zstd": archive.Zstd,
}

// Export writes the container as an image of one layer for podman, docker and others, and gives the digest of its
// manifest. The container stays as it is. Meanwhile TMPDIR of this process names a directory of the engine.
func (c *Container) Export(ctx context.Context, o ExportOptions) (manifest string, err error) {
	format, ok := exportFormats[o.Format]
	if !ok {
		return "", fmt.Errorf("export an image: the format %q is not known", o.Format)
	}
	compression, ok := exportCompressions[o.Compression]
	if !ok {
		return "", fmt.Errorf("export an image: the compression %q is not known", o.Compression)
	}
	name := o.Format + ":" + o.Path
	if o.Name != "" {
		name += ":" + o.Name
	}
	dst, err := alltransports.ParseImageName(name)
	if err != nil {
		return "", fmt.Errorf("export an image: %w", err)
	}
	b, err := c.engine.builder(ctx, format)
	if err != nil {
		return "", fmt.Errorf("export %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, b.Delete()) }()
	uncover, err := c.cover(b)
	if err != nil {
		return "", fmt.Errorf("export %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, uncover()) }()
	b.SetOS("linux")
	b.SetArchitecture(o.Architecture)
	b.SetCmd(o.Cmd)
	for k, v := range o.Env {
		b.SetEnv(k, v)
	}
	system := c.engine.systemContext()
	err = withTempDir(c.engine.TempDir(), func() error {
		_, _, digest, err := b.Commit(ctx, dst, buildah.CommitOptions{
			PreferredManifestType: format, Compression: compression, Squash: true, OmitHistory: true,
			// Not HistoryTimestamp, which sets the time of every file as well.
			SourceDateEpoch:     &o.Created,
			SignaturePolicyPath: system.SignaturePolicyPath, SystemContext: system,
		})
		manifest = digest.String()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("export %s: %w", name, err)
	}
	return manifest, nil
}

// noNetwork stands in for netavark, which buildah wants to find on the host although containers here have no network of
// their own. None of its methods is called.
type noNetwork struct{ nettypes.ContainerNetwork }

// builder makes an empty buildah container. Its name marks it as work of this session.
func (e *Engine) builder(ctx context.Context, format string) (*buildah.Builder, error) {
	return buildah.NewBuilder(ctx, e.store, buildah.BuilderOptions{
		FromImage: buildah.BaseImageFakeName, Container: e.session.workName(), PullPolicy: define.PullNever, Format: format,
		Isolation: define.IsolationChroot, CommonBuildOpts: &define.CommonBuildOptions{},
		NamespaceOptions: define.NamespaceOptions{{Name: string(specs.NetworkNamespace), Host: true}},
		NetworkInterface: noNetwork{}, SystemContext: e.systemContext(),
	})
}

// cover mounts the container over the empty root file system of a builder, which then packs it without a copy having
// been made. To make the builder from a snapshot would not do: buildah takes an image for corrupted whose layers have
// never been packed.
func (c *Container) cover(b *buildah.Builder) (uncover func() error, err error) {
	root, err := b.Mount("")
	if err != nil {
		return nil, err
	}
	if err := unix.Mount(c.root, root, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("bind %s: %w", c.root, err)
	}
	return func() error { return unix.Unmount(root, unix.MNT_DETACH) }, nil
}

// systemContext keeps containers/image away from the host's configuration: nothing is fetched from a registry, so that
// there is nobody to trust or distrust.
func (e *Engine) systemContext() *types.SystemContext {
	return &types.SystemContext{
		SignaturePolicyPath:         filepath.Join(e.session.dir, "etc", "policy.json"),
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: filepath.Join(e.session.dir, "etc", "none"),
		RegistriesDirPath:           filepath.Join(e.session.dir, "etc", "none"),
		BigFilesTemporaryDir:        e.TempDir(),
	}
}

// writePolicy writes the policy that systemContext names.
func (e *Engine) writePolicy() error {
	const anything = `{"default":[{"type":"insecureAcceptAnything"}]}`
	return os.WriteFile(e.systemContext().SignaturePolicyPath, []byte(anything), 0o600)
}

// tempDirMutex is held while TMPDIR is changed.
var tempDirMutex sync.Mutex

// withTempDir sets TMPDIR for the time of a call: buildah asks the environment, and would fill /var/tmp.
func withTempDir(dir string, f func() error) (err error) {
	const variable = "TMPDIR"
	tempDirMutex.Lock()
	defer tempDirMutex.Unlock()
	before, had := os.LookupEnv(variable) //nolint:forbidigo // to put it back
	if err := os.Setenv(variable, dir); err != nil {
		return err
	}
	defer func() {
		if had {
			err = errors.Join(err, os.Setenv(variable, before))
		} else {
			err = errors.Join(err, os.Unsetenv(variable))
		}
	}()
	return f()
}
