// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// maxPackageAge is how long `cache prune` keeps a package that no build has used.
const maxPackageAge = 30 * 24 * time.Hour

// newCacheVerb returns the command "vmdebootstrap cache", which shows, verifies and removes cached results.
func newCacheVerb(env environment, out, stderr io.Writer) *cobra.Command {
	var dir string
	limit := diskimage.Size(defaultCacheLimit)
	cache := &cobra.Command{
		Use: "cache COMMAND", Short: "show, verify and remove cached results of builds",
		Example: `
# What is stored, and how much
vmdebootstrap cache list
# Remove the least recently used results until 5 GB are left
vmdebootstrap cache prune --limit 5G`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0], "")
			}
			return cmd.Help()
		},
	}
	cache.PersistentFlags().StringVar(&dir, "state-dir", "", stateDirUsage)
	add := func(use, short string, run func(ctx context.Context) error) *cobra.Command {
		verb := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return run(cmd.Context())
			}}
		cache.AddCommand(verb)
		return verb
	}
	warn := func(d oci.Damage) { fmt.Fprintln(stderr, "WARNING: "+damageText(d)) }
	asJSON := false
	list := add("list", "list toolboxes and results of steps, most recently used first", func(ctx context.Context) error {
		return env.withStore(ctx, dir, warn, func(_ context.Context, store engine, packages *archive.Cache) error {
			c, err := readCache(store, packages)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(out).Encode(c)
			}
			return c.print(out, env.now())
		})
	})
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON: the results with id, title, bytes, made and used, and the "+
		"number and the bytes of the downloaded files")
	cache.AddCommand(&cobra.Command{
		Use: "remove ID...", Short: "remove results by the IDs that list shows, or their first characters",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("ID is missing")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return env.completeCached(cmd.Context(), dir)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			return env.withStore(cmd.Context(), dir, warn, func(_ context.Context, store engine, _ *archive.Cache) error {
				return removeByID(store, ids)
			})
		},
	})
	add("verify", "read all toolboxes and results of steps and remove damaged ones; exit status 1 if there were any",
		func(ctx context.Context) error {
			return env.verifyCache(ctx, dir, out)
		})
	prune := add("prune", "remove the least recently used results", func(ctx context.Context) error {
		return env.withStore(ctx, dir, warn, func(_ context.Context, store engine, packages *archive.Cache) error {
			stateDir, err := env.stateDir(dir)
			if err != nil {
				return err
			}
			return errors.Join(evict(store, stateDir, limit), evictPackages(packages, env.now(), maxPackageAge))
		})
	})
	prune.Flags().Var(flagSize{&limit}, "limit", "keep the most recently used results, up to `SIZE` bytes, "+
		"and no more than the free space")
	force := false
	removeAll := add("clear", "remove everything, even if damaged, unless a build is running",
		func(ctx context.Context) error {
			return env.clearCache(ctx, dir, force, stderr)
		})
	removeAll.Flags().BoolVar(&force, "force", false, "do not ask; a terminal is asked otherwise")
	return cache
}

// flagSize is a size as the value of a verb's option.
type flagSize struct{ size *diskimage.Size }

func (f flagSize) String() string {
	if f.size == nil {
		return ""
	}
	return f.size.String()
}
func (f flagSize) Type() string          { return "SIZE" }
func (f flagSize) Set(text string) error { return sizeValue{f.size}.Set(text) }

// withStore calls run with the store of a state directory, inside the namespaces that its files belong to. It calls
// damaged for each damaged snapshot that it finds.
func (e environment) withStore(ctx context.Context, stateDir string, damaged func(oci.Damage),
	run func(context.Context, engine, *archive.Cache) error) error {
	return e.insideOf(ctx, stateDir, func(dir string) (err error) {
		store, packages, err := e.openStore(ctx, dir, slog.New(slog.DiscardHandler), damaged)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		return run(ctx, store, packages)
	})
}

// insideOf calls run inside the namespaces that the files of a state directory belong to.
func (e environment) insideOf(ctx context.Context, stateDir string, run func(dir string) error) error {
	if !e.host.Inside() {
		status, err := e.reenter(ctx, reentry{stateDir: stateDir})
		if err == nil && status != exitOK {
			err = childStatus(status)
		}
		return err
	}
	dir, err := e.stateDir(stateDir)
	if err != nil {
		return err
	}
	return run(dir)
}

// damageText describes damage in the store.
func damageText(d oci.Damage) string {
	if d.Snapshot.Name == "" {
		return fmt.Sprintf("the store of cached results was damaged, and all of them are removed: %v", d.Err)
	}
	return fmt.Sprintf("the cached result of %q was damaged and is removed: %v", damagedTitle(d), d.Err)
}

// damagedTitle returns the title of a damaged snapshot, for messages.
func damagedTitle(d oci.Damage) string {
	return builder.SnapshotTitle(d.Snapshot)
}

// verifyCache reads all cached results and prints a line for each damaged one.
func (e environment) verifyCache(ctx context.Context, dir string, out io.Writer) error {
	found := 0
	damaged := func(d oci.Damage) {
		found++
		fmt.Fprintln(out, damageText(d))
	}
	return e.withStore(ctx, dir, damaged, func(ctx context.Context, store engine, _ *archive.Cache) error {
		all, _, err := store.Verify(ctx)
		switch {
		case err != nil:
			return err
		case found > 0:
			return errors.New("the cache was damaged; builds will recreate what they need")
		}
		_, err = fmt.Fprintf(out, "%d cached results are intact\n", all)
		return err
	})
}

// clearCache removes all that builds have cached in a state directory. If standard input is a terminal, it asks first,
// unless force is set.
func (e environment) clearCache(ctx context.Context, stateDir string, force bool, stderr io.Writer) error {
	if terminal, ok := e.stdin.(*os.File); ok && !force && !e.host.Inside() && term.IsTerminal(int(terminal.Fd())) {
		dir, err := e.stateDir(stateDir)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "Remove all cached results and downloads in %s? [y/N] ", dir)
		answer, err := bufio.NewReader(terminal).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the answer: %w", err)
		}
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			return errors.New("nothing was removed")
		}
	}
	return e.insideOf(ctx, stateDir, func(dir string) error {
		if err := oci.Clear(ctx, storeDir(dir), packagesDir(dir), imagesDir(dir), recordsDir(dir)); err != nil {
			return err
		}
		if stateDir == "" {
			_ = os.Remove(dir) // fails if it contains files of others
		}
		return nil
	})
}

// storeDir, packagesDir, imagesDir and recordsDir return the parts of a state directory.
func storeDir(dir string) string    { return filepath.Join(dir, "store") }
func packagesDir(dir string) string { return filepath.Join(dir, "packages") }
func imagesDir(dir string) string   { return filepath.Join(dir, "images") }
func recordsDir(dir string) string  { return filepath.Join(dir, "records") }

// cacheContent is what a state directory contains, as `cache list --json` prints it.
type cacheContent struct {
	// Results are the snapshots, the most recently used first.
	Results []cachedResult `json:"results"`
	// Downloads are packages and package lists.
	Downloads struct {
		Files int   `json:"files"`
		Bytes int64 `json:"bytes"`
	} `json:"downloads"`
}

// cachedResult is one snapshot.
type cachedResult struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Bytes is what it takes in addition to the result that it is based on.
	Bytes int64     `json:"bytes"`
	Made  time.Time `json:"made"`
	Used  time.Time `json:"used"`
}

// readCache lists the content of a store and a package cache.
func readCache(store engine, packages *archive.Cache) (cacheContent, error) {
	c := cacheContent{Results: []cachedResult{}}
	all, err := store.Snapshots()
	if err != nil {
		return c, err
	}
	for _, s := range all {
		c.Results = append(c.Results, cachedResult{s.ID, builder.SnapshotTitle(s), s.Size, s.Created, s.Used})
	}
	c.Downloads.Files, c.Downloads.Bytes, err = packages.Usage()
	return c, err
}

// shortID is how many characters of an ID a table shows, as podman does.
const shortID = 12

// print prints the content as a table.
func (c cacheContent) print(out io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tUSED\tMADE\tSIZE\tWHAT")
	for _, r := range c.Results {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID[:min(shortID, len(r.ID))], age(now, r.Used), age(now, r.Made),
			megabytes(r.Bytes), r.Title)
	}
	fmt.Fprintf(w, "\t\t\t%s\t%d downloaded packages and lists\n", megabytes(c.Downloads.Bytes), c.Downloads.Files)
	return w.Flush()
}

// removeByID removes snapshots. Each ID may be shortened to its first characters. Nothing is removed if one of them
// does not identify a snapshot.
func removeByID(store engine, ids []string) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	var names []string
	var errs []error
	for _, id := range ids {
		var found []string
		for _, s := range all {
			if id != "" && strings.HasPrefix(s.ID, id) {
				found = append(found, s.Name)
			}
		}
		switch {
		case len(found) == 0:
			errs = append(errs, fmt.Errorf("no cached result has the ID %q", id))
		case len(found) > 1:
			errs = append(errs, fmt.Errorf("%d cached results have IDs that begin with %q", len(found), id))
		}
		names = append(names, found...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return removeSnapshots(store, names)
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// age formats the time since then in its largest unit.
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

// evict removes the least recently used snapshots of the store in a state directory, down to a limit that cacheRoom may
// reduce.
func evict(store engine, dir string, limit diskimage.Size) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := diskimage.Size(st.Bavail) * diskimage.Size(st.Bsize)
	return removeSnapshots(store, builder.LeastRecentlyUsed(all, cacheRoom(all, free, limit)))
}

// cacheRoom returns how much the snapshots may take: no more than the limit, and no more than what they leave free. So
// a cache gives way to other files of a disk that becomes full.
func cacheRoom(all []types.Snapshot, free, limit diskimage.Size) diskimage.Size {
	var total diskimage.Size
	for _, s := range all {
		total += diskimage.Size(s.Size)
	}
	return min(limit, (total+free)/2)
}

// removeSnapshots removes snapshots. It is no error if another process has removed one in the meantime.
func removeSnapshots(store engine, names []string) error {
	for _, name := range names {
		if err := store.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// evictPackages removes packages that no build has used for maxAge.
func evictPackages(packages *archive.Cache, now time.Time, maxAge time.Duration) error {
	_, _, err := packages.Evict(now, maxAge, math.MaxInt64)
	return err
}
