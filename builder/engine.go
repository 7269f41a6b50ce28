package builder

import (
	"context"
	"debug/elf"
	"io"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
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
	Snapshots() ([]types.Snapshot, error)
	// Emulate has every Run from now on start foreign programs, told by Class, Data and Machine of their ELF header, under
	// interpreter: a static program of this machine, named by its path on the host. An empty name ends that. Where the
	// host does not allow it, Run gives an error that wraps errors.ErrUnsupported.
	Emulate(header elf.FileHeader, interpreter string)
	// CopyImage copies the image of an OCI layout to where it says.
	CopyImage(ctx context.Context, c types.ImageCopy) error
	// CheckDestination finds out without an image whether that can work.
	CheckDestination(ctx context.Context, c types.ImageCopy) error
	// InspectImage reads what an image says of itself, and no layers; the error wraps fs.ErrNotExist if there is none of
	// that name where others may be.
	InspectImage(ctx context.Context, src types.ImageSource) (types.RemoteImage, error)
	// FetchLayers writes layers of an image to files of a directory, called by the hexadecimal part of their digests.
	FetchLayers(ctx context.Context, src types.ImageSource, layers []types.RemoteLayer, dir string) error
	// Import makes snapshots of layers, the first above the snapshot base, each other one above the one before it.
	Import(ctx context.Context, base string, snapshots []types.PackedSnapshot) error
	// Unpack makes a directory of a tar archive, with owners as in the root file systems of this engine; the directory must
	// not exist, nor does it after an error.
	Unpack(ctx context.Context, archive io.Reader, dir string) error
}

// What callers of this package name of the rooms below it.
type (
	// Problem is one mistake in the Options.
	Problem = problem.Problem
	// Secret is a text that must not be seen.
	Secret = secret.Text
	// URL is a URL that may hold credentials.
	URL = secret.URL
	// User is one account that --user asks for.
	User = step.User
	// Step is one action on the root file system.
	Step = step.Step
	// StepError says which step failed.
	StepError = step.Error
)

// NewSecret keeps a text that must not be seen.
func NewSecret(text string) Secret { return secret.New(text) }

// NewURL keeps a text that should be a URL.
func NewURL(text string) URL { return secret.NewURL(text) }

// ParseUser reads NAME or NAME/PASSWORD; the password begins after the first slash and may hold others.
func ParseUser(text string) User { return step.ParseUser(text) }

// BootLoaders lists the values of --boot.
func BootLoaders() []string { return boot.Words() }
