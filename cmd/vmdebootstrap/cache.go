package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// maxPackageAge is how long `cache prune` keeps a package that no build asked for.
const maxPackageAge = 30 * 24 * time.Hour

// newCacheVerb makes "vmdebootstrap cache": it shows and removes what builds keep for later ones.
func newCacheVerb(env environment, out io.Writer) *cobra.Command {
	var dir string
	limit := diskimage.Size(defaultCacheLimit)
	cache := &cobra.Command{
		Use: "cache", Short: "show and remove what builds keep for later ones",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("no such verb: cache %s", args[0])
			}
			return cmd.Help()
		},
	}
	cache.PersistentFlags().StringVar(&dir, "state-dir", "", "the `DIRECTORY` of the builds (default: ~/.cache/vmdebootstrap)")
	add := func(use, short string, run func(ctx context.Context, store engine, packages *archive.Cache) error) *cobra.Command {
		verb := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withStore(cmd.Context(), dir, run)
		}}
		cache.AddCommand(verb)
		return verb
	}
	add("list", "list toolboxes and results of steps, those used last first", func(_ context.Context, store engine, packages *archive.Cache) error {
		return listCache(out, store, packages, env.now())
	})
	prune := add("prune", "remove what was not used for longest", func(_ context.Context, store engine, packages *archive.Cache) error {
		return errors.Join(evict(store, limit), evictPackages(packages, env.now(), maxPackageAge))
	})
	prune.Flags().Var(flagSize{&limit}, "limit", "keep the results of steps that were used last, `SIZE` bytes of them")
	add("clear", "remove everything", func(_ context.Context, store engine, packages *archive.Cache) error {
		return errors.Join(removeAll(store), evictPackages(packages, env.now(), math.MinInt64))
	})
	return cache
}

// flagSize is a size as an option of a verb.
type flagSize struct{ size *diskimage.Size }

func (f flagSize) String() string {
	if f.size == nil {
		return ""
	}
	return f.size.String()
}
func (f flagSize) Type() string          { return "SIZE" }
func (f flagSize) Set(text string) error { return sizeValue{f.size}.Set(text) }

// withStore runs something with the store of a state directory, inside the namespaces that its files belong to.
func (e environment) withStore(ctx context.Context, stateDir string, run func(context.Context, engine, *archive.Cache) error) (err error) {
	if !e.inside() {
		status, err := e.reenter(ctx, place{stateDir: stateDir})
		if err == nil && status != exitOK {
			err = childStatus(status)
		}
		return err
	}
	dir, err := e.stateDir(stateDir)
	if err != nil {
		return err
	}
	store, packages, err := e.openStore(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return run(ctx, store, packages)
}

// listCache prints a table of what is kept.
func listCache(out io.Writer, store engine, packages *archive.Cache, now time.Time) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "USED\tMADE\tSIZE\tWHAT")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", age(now, s.Used), age(now, s.Created), megabytes(s.Size), s.Title())
	}
	files, bytes, err := packages.Usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\t\t%s\t%d downloaded packages and lists\n", megabytes(diskimage.Size(bytes)), files)
	return w.Flush()
}

func megabytes(s diskimage.Size) string {
	return fmt.Sprintf("%.1f MB", float64(s)/float64(diskimage.MB))
}

// age is the time since then, in its largest unit.
func age(now, then time.Time) string {
	switch d := now.Sub(then); {
	case then.IsZero():
		return "unknown"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// evict removes what was not used for longest.
func evict(store engine, limit diskimage.Size) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	return removeSnapshots(store, builder.Superfluous(all, limit))
}

func removeAll(store engine) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return removeSnapshots(store, names)
}

// removeSnapshots removes snapshots; those that another process has removed meanwhile are no mistake.
func removeSnapshots(store engine, names []string) error {
	for _, name := range names {
		if err := store.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// evictPackages removes packages that no build asked for in maxAge.
func evictPackages(packages *archive.Cache, now time.Time, maxAge time.Duration) error {
	_, _, err := packages.Evict(now, maxAge, math.MaxInt64)
	return err
}
