// SPDX-License-Identifier: Apache-2.0

// Package snapshot saves the results of a build's steps, and finds them for later builds.
//
// A build is a chain of steps. Each has an Entry with a digest of all that its result depends on: the digest
// of the entry before it, the data of the step, a hash of its secrets and, for a user's hook or command, what
// it can see of the host (its view) and what it was seen to open there (its observation). Snapshots of a root
// file system are named by the digest of their last entry and labelled with the whole chain.
//
// Store.Begin finds the longest chain of a build's steps that a snapshot holds, in the local store or at a --cache-from
// remote. Store.Resume returns its Chain: Chain.Run runs the remaining steps and keeps their results, Chain.MakeOutputs
// does the same for files that a program makes from others, and Chain.Push pushes the snapshots to the --cache-to
// remotes. The name and the labels of a snapshot record the remotes that it comes from (origins): only builds that name
// these remotes use it.
//
// This package knows of a step what Step and observable declare, and nothing of plans. LeastRecentlyUsed chooses the
// snapshots to remove. contrib/design/cache.md lists the possible inputs and how each is detected.
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
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// NamePrefix is the prefix of the names of all snapshots.
const NamePrefix = "localhost/vmdebootstrap/"

// StepPrefix is the prefix of the names of steps' snapshots; the digest follows.
const StepPrefix = NamePrefix + "step:"

// Labels of a snapshot.
const (
	labelChain  = "chain"  // the entries, as JSON
	labelSeed   = "seed"   // seed of the IDs in it
	labelLayers = "layers" // unique names of its layers, the lowest first: each is of one build
	labelTitle  = "title"  // description for users, if there is no chain
)

// TitleLabels returns the labels of a snapshot that is no result of a step: its description for users.
func TitleLabels(title string) map[string]string { return map[string]string{labelTitle: title} }

// Settings says how a build uses snapshots of earlier builds.
type Settings struct {
	// Version returns the version of the code that makes the result of a step, by the step's kind: a snapshot is used
	// by programs whose versions of its steps are the same. nil returns the same for all.
	Version func(kind string) string
	// Rebuild runs each step again and replaces its snapshot.
	Rebuild bool
	// Ours are files that this program writes (outputs, log) and directories with such files (state). They are not
	// inputs of hooks that see them.
	Ours []string
	// Records is a directory for what Explain needs to know of earlier builds, and for indexes of digests of files; empty
	// for none. Now is the clock for these.
	Records string
	Now     func() time.Time
	// Explain is called for each step whose result is kept, with the reason why it is cached or runs; it may be nil.
	Explain func(text string)
	// From and To are the remotes at which machines share snapshots.
	From, To []Remote
	// SkipTLSVerify does not verify the TLS certificates of registries, and allows registries without TLS.
	SkipTLSVerify bool
	// Key signs snapshots for To and verifies snapshots from From; nil accepts everything.
	Key *Key
	// Warn is called for failures that do not affect the result.
	Warn func(text string)
}

// Step is what the cache knows of a step. Its JSON is its data, which distinguishes results; see also observable.
type Step interface {
	// Kind returns the name of what it does, the same in all releases.
	Kind() string
	// Title describes it to users.
	Title() string
	// Kept reports whether its result becomes a snapshot.
	Kept() bool
	// Changed describes a change of an input, by its name in the JSON; "" names the inputs that the JSON hides. It
	// returns "" if both values are the best description.
	Changed(input string) string
}

// Engine makes root file systems and keeps snapshots of them.
type Engine interface {
	// Scratch returns an empty root file system.
	Scratch(ctx context.Context) (target.Rootfs, error)
	// From returns a new root file system on top of a snapshot; the error wraps fs.ErrNotExist if that does not exist.
	From(ctx context.Context, snapshot string) (target.Rootfs, error)
	// Labels returns the labels of a snapshot; the error wraps fs.ErrNotExist if that does not exist.
	Labels(snapshot string) (map[string]string, error)
	// Snapshots returns all snapshots, the most recently used first.
	Snapshots() ([]types.Snapshot, error)
	// Lock locks a name until unlock is called or this process ends. While another process has locked it, Lock calls
	// waiting once and waits; waited reports whether it did.
	Lock(ctx context.Context, name string, waiting func()) (unlock func() error, waited bool, err error)
	// CopyImage copies the image of an OCI layout to its destination.
	CopyImage(ctx context.Context, c types.ImageCopy) error
	// CheckDestination checks without an image whether CopyImage can work.
	CheckDestination(ctx context.Context, c types.ImageCopy) error
	// InspectImage reads the manifest and the configuration of an image; the error wraps fs.ErrNotExist if a working
	// remote does not have it.
	InspectImage(ctx context.Context, src types.ImageSource) (types.RemoteImage, error)
	// FetchLayers writes layers of an image to files of a directory, named by the hexadecimal part of their digests.
	FetchLayers(ctx context.Context, src types.ImageSource, layers []types.RemoteLayer, dir string) error
	// CopiesSnapshots reports whether each snapshot is a copy of the whole root file system.
	CopiesSnapshots() bool
	// Import makes snapshots of layers, the first above the snapshot base, each other one above its predecessor.
	Import(ctx context.Context, base string, snapshots []types.PackedSnapshot) error
}

// Config configures a Store.
type Config struct {
	Settings Settings
	Engine   Engine
	// TempDir is a directory for files of this build.
	TempDir string
	// Environ and Dir are the caller's environment and working directory.
	Environ []string
	Dir     string
	Log     *slog.Logger
	// Progress receives what the cache does; nil drops it.
	Progress *progress.Reporter
	// Toolbox is the name of the toolbox's snapshot, which identifies its content.
	Toolbox string
	// Epoch identifies the time and the seed of a build whose time is fixed: all its programs see the variable
	// SOURCE_DATE_EPOCH, and salts come from the seed. It is empty for others.
	Epoch []string
	// Scripts are the names of the build's hooks.
	Scripts []string
}

// Store finds, keeps and shares the snapshots of builds with the same settings.
type Store struct {
	Config
	// scripts are the real names of the build's hooks.
	scripts map[string]bool
	// skipped are --cache-from remotes that failed, with a warning, and are not used again.
	skipped map[Remote]bool
	// reported are texts that were reported once.
	reported map[string]bool
	// environs caches hashes of environments.
	environs map[string]string
	contents contents    // of files that hooks have opened
	inputs   digestIndex // of files of targets that programs have opened
	// making is the name of the snapshot that this build makes next, locked; "" if there is none.
	making string
	unlock func() error
}

// New returns a Store.
func New(c Config) *Store {
	store := &Store{Config: c, scripts: map[string]bool{}}
	for _, name := range c.Scripts {
		store.scripts[realName(name)] = true
	}
	if c.Settings.Records != "" {
		use := func(index *digestIndex, file string) {
			index.file, index.now = filepath.Join(c.Settings.Records, file), c.Settings.Now
		}
		use(&store.contents.index, "contents.json")
		if !c.Engine.CopiesSnapshots() { // a copy has new inodes
			use(&store.inputs, "inputs.json")
		}
	}
	return store
}

// lock locks the name of a step's snapshot, in place of the one that is locked now. again reports that another build
// may just have made it.
func (store *Store) lock(ctx context.Context, name, title string) (again bool, err error) {
	if store.Settings.Rebuild || store.making == name {
		return false, nil
	}
	if err := store.Unlock(); err != nil {
		return false, err
	}
	unlock, again, err := store.Engine.Lock(ctx, name, func() {
		store.Progress.Message("wait for another build, which does: " + title)
		store.Progress.Say("wait", "another build does: "+title)
	})
	if err != nil {
		return false, err
	}
	store.making, store.unlock = name, unlock
	here, err := store.local(name, title)
	return again || len(here) > 0, err
}

// Unlock lets other builds make what this one was going to make. It may be called more than once.
func (store *Store) Unlock() error {
	if store.making == "" {
		return nil
	}
	store.making = ""
	return store.unlock()
}

// Close saves the indexes of digests for the next build.
func (store *Store) Close(ctx context.Context) {
	for _, index := range []*digestIndex{&store.contents.index, &store.inputs} {
		if err := index.save(ctx); err != nil {
			store.Log.Info("digests of files are not saved", slog.Any("because", err))
		}
	}
}

// stepLabels returns the labels of the snapshot of the last of some steps.
func stepLabels(entries []Entry, layers []string, seed uuid.UUID) (map[string]string, error) {
	chain, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		labelChain: string(chain), labelSeed: seed.String(), labelLayers: strings.Join(layers, " "),
	}, nil
}

// readChain returns the chain of steps in a snapshot's labels.
func readChain(labels map[string]string) ([]Entry, error) {
	var entries []Entry
	err := json.Unmarshal([]byte(labels[labelChain]), &entries)
	return entries, err
}

// version returns the version of the code of a step.
func (store *Store) version(kind string) string {
	if store.Settings.Version == nil {
		return ""
	}
	return store.Settings.Version(kind)
}

// recordView saves what a view consists of, for --explain-cache.
func (store *Store) recordView(v *view) {
	if err := v.record(records(store.Settings.Records)); err != nil {
		store.Log.Info("what a step can see is not recorded", slog.Any("because", err))
	}
}
