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

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// maxPackageAge is how long `cache prune` keeps a package that no build has used.
const maxPackageAge = 30 * 24 * time.Hour

// cacheCall is a call of "vmdebootstrap cache".
type cacheCall struct {
	env            environment
	stdout, stderr io.Writer
	stateDir       string
	// progress is one of display.Modes.
	progress string
}

// cacheWork is what one of the verbs does, inside, while work shows that.
type cacheWork struct {
	*work
	stateDir string
	store    engine
	packages *archive.Cache
	// damage is the number of damaged results that were found.
	damage int
}

// newCacheVerb returns the command "vmdebootstrap cache", which shows, verifies and removes cached results.
func newCacheVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	c := &cacheCall{env: env, stdout: stdout, stderr: stderr, progress: display.Auto}
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
	cache.PersistentFlags().StringVar(&c.stateDir, "state-dir", "", stateDirUsage)
	cache.PersistentFlags().Var(choiceValue{&c.progress, display.Modes}, "progress",
		newSettings(env.arch).lookup("progress").usage)
	cache.AddCommand(c.newList(), c.newRemove(), c.newVerify(), c.newPrune(), c.newClear())
	return cache
}

func (c *cacheCall) newList() *cobra.Command {
	asJSON := false
	list := &cobra.Command{
		Use: "list", Short: "list toolboxes and results of steps, most recently used first", Args: cobra.NoArgs,
		Example: `
# What is stored, and how much
vmdebootstrap cache list
# The IDs of all results
vmdebootstrap cache list --json | jq -r '.results[].id'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), "read the cache", func(_ context.Context, w *cacheWork) error {
				content, err := readCache(w.store, w.packages)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(w.display.Stdout()).Encode(content)
				}
				return content.print(w.display.Stdout(), c.env.now())
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON: the results with id, title, bytes, made and used, and the "+
		"number and the bytes of the downloaded files")
	return list
}

func (c *cacheCall) newRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID...", Short: "remove results by the IDs that list shows, or their first characters",
		Example: `
# One result, by the ID of the list
vmdebootstrap cache remove 3f2a91c07d4e
# Two results of another state directory
vmdebootstrap cache remove --state-dir /srv/vmdebootstrap 3f2a 91c0`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("ID is missing")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return c.env.completeCached(cmd.Context(), c.stateDir)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			return c.withStore(cmd.Context(), "remove cached results", func(_ context.Context, w *cacheWork) error {
				return removeByID(w.store, ids, countResults(w.Reporter, "remove"))
			})
		},
	}
}

func (c *cacheCall) newVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "read all toolboxes and results of steps and remove damaged ones; exit status 1 if there were any",
		Example: `
# Read everything, with the progress on a terminal
vmdebootstrap cache verify
# In a job at night, with a line at least every ten seconds in its log
vmdebootstrap cache verify --progress plain`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), "verify cached results", verifyCache)
		},
	}
}

func (c *cacheCall) newPrune() *cobra.Command {
	limit := diskimage.Size(defaultCacheLimit)
	prune := &cobra.Command{
		Use: "prune", Short: "remove the least recently used results", Args: cobra.NoArgs,
		Example: `
# Until 5 GB are left
vmdebootstrap cache prune --limit 5G
# Only what has to give way to other files on the disk
vmdebootstrap cache prune`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), "remove cached results", func(_ context.Context, w *cacheWork) error {
				return errors.Join(evict(w.store, w.stateDir, limit, countResults(w.Reporter, "remove")),
					evictPackages(w.packages, c.env.now(), maxPackageAge))
			})
		},
	}
	prune.Flags().Var(flagSize{&limit}, "limit", "keep the most recently used results, up to `SIZE` bytes, "+
		"and no more than the free space")
	return prune
}

func (c *cacheCall) newClear() *cobra.Command {
	force := false
	removeAll := &cobra.Command{
		Use: "clear", Short: "remove everything, even if damaged, unless a build is running", Args: cobra.NoArgs,
		Example: `
# Ask first
vmdebootstrap cache clear
# Do not ask, in a script
vmdebootstrap cache clear --force`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.clear(cmd.Context(), force) },
	}
	removeAll.Flags().BoolVar(&force, "force", false, "do not ask; a terminal is asked otherwise")
	return removeAll
}

// withStore calls run with the store, and shows it as work of that title.
func (c *cacheCall) withStore(ctx context.Context, title string, run func(context.Context, *cacheWork) error) error {
	return c.work(ctx, title, func(w *cacheWork) (err error) {
		damaged := func(d oci.Damage) {
			w.damage++
			w.Warn(damageText(d))
		}
		w.store, w.packages, err = c.env.openStore(ctx, w.stateDir, slog.New(slog.DiscardHandler), damaged)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.store.Close()) }()
		return run(ctx, w)
	})
}

// work calls run inside the namespaces that the files of the state directory belong to, and shows it as work of that
// title.
func (c *cacheCall) work(ctx context.Context, title string, run func(*cacheWork) error) error {
	if err := checkProgress(c.env.displayOptions(c.progress, c.stdout, c.stderr)); err != nil {
		return err
	}
	return c.env.insideOf(ctx, c.stateDir, func(dir string) (err error) {
		w := &cacheWork{work: c.env.beginWork(c.progress, title, c.stdout, c.stderr), stateDir: dir}
		defer func() { w.end(err) }()
		return run(w)
	})
}

// countResults returns a function that says how many results an activity is done with.
func countResults(report *progress.Reporter, activity string) func(done, total int) {
	return func(done, total int) { report.Advance(activity, int64(done), int64(total), progress.Results) }
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

// verifyCache reads all cached results and warns of each damaged one.
func verifyCache(ctx context.Context, w *cacheWork) error {
	all, _, err := w.store.Verify(ctx, countResults(w.Reporter, "verify"))
	switch {
	case err != nil:
		return err
	case w.damage > 0:
		return errors.New("the cache was damaged; builds will recreate what they need")
	}
	_, err = fmt.Fprintf(w.display.Stdout(), "%d cached results are intact\n", all)
	return err
}

// clear removes all that builds have cached in the state directory. If standard input is a terminal, it asks first,
// unless force is set.
func (c *cacheCall) clear(ctx context.Context, force bool) error {
	if !force && !c.env.host.Inside() && isTerminal(c.env.stdin) {
		dir, err := c.env.stateDir(c.stateDir)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stderr, "Remove all cached results and downloads in %s? [y/N] ", dir)
		answer, err := bufio.NewReader(c.env.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the answer: %w", err)
		}
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			return errors.New("nothing was removed")
		}
	}
	return c.work(ctx, "remove all cached results and downloads", func(w *cacheWork) error {
		dir := w.stateDir
		if err := clearRebuild(ctx, rebuildDir(dir)); err != nil {
			return err
		}
		if err := oci.Clear(ctx, storeDir(dir), packagesDir(dir), imagesDir(dir), recordsDir(dir)); err != nil {
			return err
		}
		if c.stateDir == "" {
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
// does not identify a snapshot. removed is called with how many of them are gone.
func removeByID(store engine, ids []string, removed func(done, total int)) error {
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
	return removeSnapshots(store, names, removed)
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
// reduce. removed is called with how many of them are gone.
func evict(store engine, dir string, limit diskimage.Size, removed func(done, total int)) error {
	all, err := store.Snapshots()
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := diskimage.Size(st.Bavail) * diskimage.Size(st.Bsize)
	return removeSnapshots(store, builder.LeastRecentlyUsed(all, cacheRoom(all, free, limit)), removed)
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

// removeSnapshots removes snapshots, and calls removed with how many of them are gone. It is no error if another
// process has removed one in the meantime.
func removeSnapshots(store engine, names []string, removed func(done, total int)) error {
	for i, name := range names {
		removed(i, len(names))
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
