// SPDX-License-Identifier: Apache-2.0

// Package snapshot keeps what the steps of a build have made, and finds it again.
//
// A build is a chain of steps. Each has an Entry with a digest of all that its result depends on: the digest of the
// entry before it, the data of the step, a hash of its secrets, and, for a hook or a command of the user's, what it can
// see of the host (its view) and what it was seen to open there (its observation). Snapshots of a root file system are
// named after the digest of their last entry and labelled with the whole chain.
//
// Store.Begin finds the longest chain of a build's steps that a snapshot holds, in the local store or at a place of
// --cache-from. Store.Resume makes a Chain of it: Chain.Run runs the steps that remain and keeps their results,
// Chain.MakeOutputs does the same for files that a program makes of others, and Chain.Push puts the snapshots to the
// places of --cache-to. Whatever comes from such a place says so in its name and its labels (origins): only builds that
// name the place themselves use it.
//
// Of a step this package knows what Step and observable ask for, and of a plan nothing. LeastRecentlyUsed says which
// snapshots to remove first. contrib/design/cache.md tells what can be an input, and who would notice.
package snapshot

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// NamePrefix begins the names of all snapshots that builds make.
const NamePrefix = "localhost/vmdebootstrap/"

// StepPrefix begins the names of the snapshots of steps whose results are kept; the digest follows.
const StepPrefix = NamePrefix + "step:"

// Labels of a snapshot.
const (
	labelChain  = "chain"  // the entries, as JSON
	labelSeed   = "seed"   // where the IDs in it come from
	labelLayers = "layers" // names of its layers, the lowest first, which no others have: each is of one build
	labelTitle  = "title"  // what people read of it, if there is no chain
)

// Settings says how a build uses snapshots of earlier ones.
type Settings struct {
	// Program identifies this program and what all its steps depend on: a snapshot is of use only to the
	// program that made it.
	Program string
	// Rebuild runs each step again and replaces its snapshot.
	Rebuild bool
	// Ours are files that this program writes, its outputs and its log, and directories with such files, that of its
	// state: a hook that sees them has none of them as inputs.
	Ours []string
	// Records is a directory for what Explain needs to know of earlier builds, and for digests of large
	// files; empty for none. Now tells when such a digest may be noted.
	Records string
	Now     func() time.Time
	// Explain is told of each step whose result is kept whether it comes from the cache, or why it runs; nil
	// for nobody.
	Explain func(text string)
	// From and To are places at which snapshots are shared with other machines.
	From, To []Remote
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
	// Key signs what is put to To, and checks what comes from From; nil takes everything.
	Key *Key
	// Warn is told of what goes wrong and does not matter to the result.
	Warn func(text string)
}

// Step is what the cache knows of a step. Its JSON is its data, by which results are told apart; see also
// observable.
type Step interface {
	// Kind names what it does, the same in all releases.
	Kind() string
	// Title is what people read of it.
	Title() string
	// Kept reports whether a snapshot is made of its result.
	Kept() bool
	// Changed describes a change of an input that is named so in its JSON, or of those that JSON hides, which are named
	// "". It returns "" if there is nothing better to say than both values.
	Changed(input string) string
}

// Engine makes root file systems and keeps snapshots of them.
type Engine interface {
	// Scratch gives an empty one.
	Scratch(ctx context.Context) (target.Rootfs, error)
	// From gives a new one on top of a snapshot; the error wraps fs.ErrNotExist if there is none of that name.
	From(ctx context.Context, snapshot string) (target.Rootfs, error)
	// Labels gives what a snapshot was labelled with; the error wraps fs.ErrNotExist if there is none of that name.
	Labels(snapshot string) (map[string]string, error)
	// Snapshots lists all of them, those that were used last first.
	Snapshots() ([]types.Snapshot, error)
	// CopyImage copies the image of an OCI layout to where it says.
	CopyImage(ctx context.Context, c types.ImageCopy) error
	// CheckDestination finds out without an image whether that can work.
	CheckDestination(ctx context.Context, c types.ImageCopy) error
	// InspectImage reads what an image says of itself, and no layers; the error wraps fs.ErrNotExist if there
	// is none of that name where others may be.
	InspectImage(ctx context.Context, src types.ImageSource) (types.RemoteImage, error)
	// FetchLayers writes layers of an image to files of a directory, called by the hexadecimal part of their digests.
	FetchLayers(ctx context.Context, src types.ImageSource, layers []types.RemoteLayer, dir string) error
	// Import makes snapshots of layers, the first above the snapshot base, each other one above the one before it.
	Import(ctx context.Context, base string, snapshots []types.PackedSnapshot) error
}

// Config is what a Store works with.
type Config struct {
	Settings Settings
	Engine   Engine
	// TempDir is a directory for files of this build.
	TempDir string
	// Environ and Dir are the caller's environment and working directory.
	Environ []string
	Dir     string
	Log     *slog.Logger
	// Say tells a user what begins.
	Say func(text string)
	// Toolbox is the name of the toolbox's snapshot, which tells what is in it.
	Toolbox string
	// Scripts are the names of the build's hooks.
	Scripts []string
}

// Store finds, keeps and shares the snapshots of builds with the same settings.
type Store struct {
	Config
	// scripts are the real names of the build's hooks.
	scripts map[string]bool
	// refused are places of --cache-from of which there was a warning; they are left alone.
	refused map[Remote]bool
	// told are texts of which there was word once.
	told map[string]bool
	// environs are hashes of environments that were made already.
	environs map[string]string
	contents contents // of files that hooks have opened
}

// New returns a Store.
func New(c Config) *Store {
	store := &Store{Config: c, scripts: map[string]bool{}}
	for _, name := range c.Scripts {
		store.scripts[realName(name)] = true
	}
	if c.Settings.Records != "" {
		store.contents.index, store.contents.now = filepath.Join(c.Settings.Records, "contents.json"), c.Settings.Now
	}
	return store
}

// Close saves what the next build need not find out again.
func (store *Store) Close(ctx context.Context) {
	if err := store.contents.save(ctx); err != nil {
		store.Log.Info("digests of files are not noted", slog.Any("because", err))
	}
}

// stepLabels are the labels of the snapshot that the last of some steps ends in.
func stepLabels(entries []Entry, layers []string, seed uuid.UUID) (map[string]string, error) {
	chain, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		labelChain: string(chain), labelSeed: seed.String(), labelLayers: strings.Join(layers, " "),
	}, nil
}

func readChain(labels map[string]string) ([]Entry, error) {
	var entries []Entry
	err := json.Unmarshal([]byte(labels[labelChain]), &entries)
	return entries, err
}

// recordView writes down what a view consists of, for --explain-cache.
func (store *Store) recordView(v *view) {
	if err := v.record(records(store.Settings.Records)); err != nil {
		store.Log.Info("what a step can see is not recorded", slog.Any("because", err))
	}
}
