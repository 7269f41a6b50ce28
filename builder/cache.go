package builder

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

// namePrefix begins the names of all snapshots that builds make.
const namePrefix = "localhost/vmdebootstrap/"

// SnapshotPrefix begins the names of the snapshots that dear steps end in; the digest follows.
const SnapshotPrefix = namePrefix + "step:"

// Labels of a snapshot.
const (
	labelChain  = "chain"  // the links, as JSON
	labelSeed   = "seed"   // Lock.Seed of the build that made it
	labelLayers = "layers" // names of its layers, the lowest first, which no others have: each is of one build
	labelTitle  = "title"  // what people read of it, if there is no chain
)

// Cache says how a build uses snapshots of earlier ones.
type Cache struct {
	// Program identifies this program and what all its steps depend on: a snapshot is of use only to the program that made
	// it.
	Program string
	// Rebuild runs each step again and replaces its snapshot.
	Rebuild bool
	// Ours are files that this program writes, its outputs and its log, and directories with such files, that of its
	// state: a hook that sees them has none of them as inputs.
	Ours []string
	// Records is a directory for what Explain needs to know of earlier builds, and for digests of large files; empty for
	// none. Now tells when such a digest may be noted.
	Records string
	Now     func() time.Time
	// Explain is told of each dear step whether it comes from the cache, or why it runs; nil for nobody.
	Explain func(text string)
	// From and To are places at which snapshots are shared with other machines.
	From, To []Remote
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
	// Key signs what is put to To, and checks what comes from From; nil takes everything.
	Key *CacheKey
	// Warn is told of what goes wrong and does not matter to the result.
	Warn func(text string)
}

// stepLabels are the labels of the snapshot that the last of some steps ends in.
func stepLabels(links []link, layers []string, seed uuid.UUID) (map[string]string, error) {
	chain, err := json.Marshal(links)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		labelChain: string(chain), labelSeed: seed.String(), labelLayers: strings.Join(layers, " "),
	}, nil
}

func readChain(labels map[string]string) ([]link, error) {
	var links []link
	err := json.Unmarshal([]byte(labels[labelChain]), &links)
	return links, err
}

// recordView writes down what a view consists of, for --explain-cache.
func (store *snapshotStore) recordView(v *view) {
	if err := v.record(records(store.Cache.Records)); err != nil {
		store.Log.Info("what a step can see is not recorded", slog.Any("because", err))
	}
}

// snapshotStep is what the cache knows of a step. Its JSON is its data, by which results are told apart; see also
// observable.
type snapshotStep interface {
	Kind() string
	// Title is what people read of it.
	Title() string
	// Kept reports whether a snapshot is made of its result.
	Kept() bool
	// Changed describes a change of an input that is named so in its JSON, or of those that JSON hides, which are named
	// "". It returns "" if there is nothing better to say than both values.
	Changed(input string) string
}

// snapshotEngine is what the cache needs of an Engine, which see.
type snapshotEngine interface {
	Scratch(ctx context.Context) (target.Rootfs, error)
	From(ctx context.Context, snapshot string) (target.Rootfs, error)
	Labels(snapshot string) (map[string]string, error)
	Snapshots() ([]types.Snapshot, error)
	CopyImage(ctx context.Context, c types.ImageCopy) error
	CheckDestination(ctx context.Context, c types.ImageCopy) error
	InspectImage(ctx context.Context, src types.ImageSource) (types.RemoteImage, error)
	FetchLayers(ctx context.Context, src types.ImageSource, layers []types.RemoteLayer, dir string) error
	Import(ctx context.Context, base string, snapshots []types.PackedSnapshot) error
}

// snapshotConfig is what a snapshotStore works with.
type snapshotConfig struct {
	Cache  Cache
	Engine snapshotEngine
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

// snapshotStore finds, keeps and shares the snapshots of builds with the same settings.
type snapshotStore struct {
	snapshotConfig
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

func newSnapshotStore(c snapshotConfig) *snapshotStore {
	store := &snapshotStore{snapshotConfig: c, scripts: map[string]bool{}}
	for _, name := range c.Scripts {
		store.scripts[realName(name)] = true
	}
	if c.Cache.Records != "" {
		store.contents.index, store.contents.now = filepath.Join(c.Cache.Records, "contents.json"), c.Cache.Now
	}
	return store
}

// Close saves what is worth to be known by the next build. What is lost is found out again.
func (store *snapshotStore) Close(ctx context.Context) {
	if err := store.contents.save(ctx); err != nil {
		store.Log.Info("digests of files are not noted", slog.Any("because", err))
	}
}
