package builder

import (
	"context"
	"debug/elf"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// A root file system under construction, see package target.
type (
	Target = target.Target
	Files  = target.Files
	Rootfs = target.Rootfs
)

// Engine makes root file systems and keeps snapshots of them.
type Engine interface {
	// Scratch gives an empty one.
	Scratch(ctx context.Context) (Rootfs, error)
	// From gives a new one on top of a snapshot; the error wraps fs.ErrNotExist if there is none of that name.
	From(ctx context.Context, snapshot string) (Rootfs, error)
	// Labels gives what a snapshot was labelled with; the error wraps fs.ErrNotExist if there is none of that name.
	Labels(snapshot string) (map[string]string, error)
	// Snapshots lists all of them, those that were used last first.
	Snapshots() ([]Snapshot, error)
	// Emulate has every Run from now on start foreign programs, told by Class, Data and Machine of their ELF header, under
	// interpreter: a static program of this machine, named by its path on the host. An empty name ends that. Where the
	// host does not allow it, Run gives an error that wraps errors.ErrUnsupported.
	Emulate(header elf.FileHeader, interpreter string)
	// CopyImage copies the image of an OCI layout to where it says.
	CopyImage(ctx context.Context, c ImageCopy) error
	// CheckDestination finds out without an image whether that can work.
	CheckDestination(ctx context.Context, c ImageCopy) error
	// InspectImage reads what an image says of itself, and no layers; the error wraps fs.ErrNotExist if there is none of
	// that name where others may be.
	InspectImage(ctx context.Context, src ImageSource) (RemoteImage, error)
	// FetchLayers writes layers of an image to files of a directory, called by the hexadecimal part of their digests.
	FetchLayers(ctx context.Context, src ImageSource, layers []RemoteLayer, dir string) error
	// Import makes snapshots of layers, the first above the snapshot base, each other one above the one before it.
	Import(ctx context.Context, base string, snapshots []RemoteSnapshot) error
	// Unpack makes a directory of a tar archive, with owners as in the root file systems of this engine; the directory must
	// not exist, nor does it after an error.
	Unpack(ctx context.Context, archive io.Reader, dir string) error
}

// ImageCopy says where an image goes.
type ImageCopy struct {
	// Layout is a directory, an OCI image layout with one image.
	Layout string
	// Destination is an Export as text.
	Destination string
	// File takes the place of the file that Destination names; nil if it names none.
	File *os.File
	// Environ is the caller's environment: it tells where credentials and the caller's own store are.
	Environ []string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
}

// ImageSource says where an image comes from.
type ImageSource struct {
	// Name is in the words of containers-transports(5).
	Name string
	// Environ is the caller's environment: it tells where credentials are.
	Environ []string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
}

// RemoteImage is what an image says of itself.
type RemoteImage struct {
	Labels map[string]string
	// Config is the digest of the configuration, which holds the labels; Annotations are those of the manifest.
	Config      digest.Digest
	Annotations map[string]string
	// Layers begin with the lowest.
	Layers []RemoteLayer
}

// RemoteLayer is one layer of an image.
type RemoteLayer struct {
	MediaType string
	// Digest and Size are those of the layer in its packed form, DiffID is the digest of the tar archive in it.
	Digest digest.Digest
	Size   int64
	DiffID digest.Digest
}

// RemoteSnapshot is a snapshot that comes from elsewhere: what it has beyond the one below it.
type RemoteSnapshot struct {
	Name   string
	Labels map[string]string
	// File holds the layer, a tar archive, plain or compressed; DiffID is the digest of the plain one.
	File   string
	DiffID digest.Digest
}

// Snapshot is a kept root file system.
type Snapshot struct {
	Name   string
	Labels map[string]string
	// Size is how many bytes it takes beyond the one below it.
	Size diskimage.Size
	// Created is when it was made; Used is when a root file system was last begun from it.
	Created, Used time.Time
}
