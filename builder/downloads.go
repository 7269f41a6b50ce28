// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/depmod"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/builder/wget"
)

// downloads is the directory of .deb files that a build shares to debootstrap, to apt and to hooks as apt's
// own. All of them may write to it, so it has copies of the cache's files, and what is read of it afterwards
// is read as what anybody may have put there.
type downloads struct {
	dir  string
	root *os.Root
	// copies are the files that came from the cache, by name, as they were when they came; mu guards it.
	copies map[string]fileState
	mu     sync.Mutex
	// base and all are the packages of debootstrap's, and all that are expected, on their way into dir.
	base, all *arrival
	// derived is a directory of what is derived from packages. Containers cannot write to it; see dpkg.DerivedDir.
	derivedDir string
	derived    *os.Root
	// indexed is closed when the indexes of modules are there; nil if there will be none.
	indexed <-chan struct{}
	// background is the work that goes on while steps run, and stop ends it.
	background sync.WaitGroup
	stop       []func()
}

// fileState reports whether a file is still the one that was written. The kernel sets the time of the last
// change, and no program in a container can set it back.
type fileState struct {
	inode   uint64
	changed syscall.Timespec
}

// newDownloads makes the directory.
func newDownloads(dir string) (*downloads, error) {
	// apt downloads into partial.
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return nil, err
	}
	d := &downloads{dir: dir, copies: map[string]fileState{}, derivedDir: dir + ".derived"}
	if err := os.Mkdir(d.derivedDir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if d.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if d.derived, err = os.OpenRoot(d.derivedDir); err != nil {
		return nil, errors.Join(err, d.root.Close())
	}
	return d, nil
}

// Close ends the work in the background and the use of the directories, which stay.
func (d *downloads) Close() error {
	for _, stop := range d.stop {
		stop()
	}
	d.background.Wait()
	return errors.Join(d.root.Close(), d.derived.Close())
}

// derive puts what is derived from packages into the directory, in the background: copies that take less time to
// decompress, and the indexes of modules. What the cache has comes first, the rest when it is made. Where it is not
// there yet, the same work is done when the package is installed, so that a failure is only logged.
func (d *downloads) derive(ctx context.Context, x *Executor, packages []*archive.Package, indexes []moduleIndexes,
	environ []string) {
	ctx, cancel := context.WithCancel(ctx)
	d.stop = append(d.stop, cancel)
	indexed := make(chan struct{})
	d.indexed = indexed
	d.background.Go(func() {
		cache := x.Archive.Cache
		copied := d.addCached(ctx, x, packages, indexes)
		select {
		case <-d.all.done:
		case <-ctx.Done():
		}
		run := func(name string, make func() (string, error)) {
			digest, err := make()
			if err == nil && digest != "" {
				err = d.addDerived(ctx, cache, name, digest)
			}
			if err != nil && ctx.Err() == nil {
				x.Log.Debug("derive from packages", "name", name, "error", err)
			}
		}
		repack := func(kernels bool) {
			for i, p := range packages {
				if ctx.Err() == nil && !copied[i] && kernelPackage.MatchString(p.Name) == kernels {
					run(p.SHA256, func() (string, error) { return cache.Repack(ctx, p.SHA256) })
				}
			}
		}
		repack(true)
		for i, m := range indexes {
			if !copied[len(packages)+i] {
				run(depmod.ArchiveName(m.version), func() (string, error) { return m.make(ctx, x, environ) })
			}
		}
		close(indexed)
		repack(false)
	})
}

// addCached puts what the cache has of the packages, and then of the indexes, into the directory. It returns which of
// them it had.
func (d *downloads) addCached(ctx context.Context, x *Executor, packages []*archive.Package,
	indexes []moduleIndexes) (copied []bool) {
	copied = make([]bool, len(packages)+len(indexes))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	add := func(i int, kind, key, name string) {
		g.Go(func() error {
			digest := x.Archive.Cache.Derived(kind, key)
			if digest == "" {
				return nil
			}
			if err := d.addDerived(ctx, x.Archive.Cache, name, digest); err != nil {
				x.Log.Debug("copy what is derived from a package", "kind", kind, "name", name, "error", err)
				return nil
			}
			copied[i] = true
			return nil
		})
	}
	for i, p := range packages {
		add(i, archive.RepackedKind, p.SHA256, p.SHA256)
	}
	for i, m := range indexes {
		add(len(packages)+i, archive.ModulesKind, m.key, depmod.ArchiveName(m.version))
	}
	_ = g.Wait() // each error has been logged
	return copied
}

// waitForIndexes waits for the indexes of modules that derive makes.
func (d *downloads) waitForIndexes(ctx context.Context) error {
	if d.indexed == nil {
		return nil
	}
	select {
	case <-d.indexed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// addDerived puts a file of the cache into the directory, complete or not at all. It is no link: where nothing can be
// mounted, containers can write to it.
func (d *downloads) addDerived(ctx context.Context, cache *archive.Cache, name, digest string) error {
	const unfinished = "unfinished-"
	if err := cache.Copy(ctx, digest, d.derived, unfinished+name); err != nil {
		return err
	}
	return d.derived.Rename(unfinished+name, name)
}

// arrival is that of packages in the directory.
type arrival struct {
	done chan struct{}
	err  error // why they have not arrived, once done is closed
	mu   sync.Mutex
	// show is told how many bytes there are, while somebody waits.
	show func(archive.Event)
}

func (a *arrival) finish(err error) {
	a.err = err
	close(a.done)
}

func (a *arrival) advance(e archive.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.show != nil {
		a.show(e)
	}
}

func (a *arrival) setShow(show func(archive.Event)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.show = show
}

// wait waits for the packages, and reports how far they are. It returns at once if a is nil.
func (a *arrival) wait(ctx context.Context, report *progress.Reporter) error {
	if a == nil {
		return nil
	}
	a.setShow(showDownload(report))
	defer a.setShow(nil)
	return a.arrived(ctx)
}

// arrived waits for the packages. It returns at once if a is nil.
func (a *arrival) arrived(ctx context.Context) error {
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start begins to download packages in the background: those of base, which debootstrap asks for, before the rest,
// which arrives while it works.
func (d *downloads) start(ctx context.Context, client *archive.Client, base, rest []*archive.Package,
	report *progress.Reporter) {
	ctx, cancel := context.WithCancel(ctx)
	d.stop = append(d.stop, cancel)
	d.base, d.all = &arrival{done: make(chan struct{})}, &arrival{done: make(chan struct{})}
	d.background.Go(func() {
		err := d.fill(ctx, client, base, report, d.base.advance)
		d.base.finish(err)
		if err == nil {
			err = d.fill(ctx, client, rest, report, d.all.advance)
		}
		d.all.finish(err)
	})
}

// fill downloads what debootstrap and apt will ask for, several at a time and into the cache, and puts it
// where they look before they download. They compare each file with the mirror's own checksum, and whatever
// the estimate misses they get by themselves.
func (d *downloads) fill(ctx context.Context, client *archive.Client, packages []*archive.Package,
	report *progress.Reporter, show func(archive.Event)) error {
	if err := fetch(ctx, client, packages, report, show); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, p := range packages {
		g.Go(func() error { return d.add(ctx, client, p) })
	}
	return g.Wait()
}

// add copies a package from the cache.
func (d *downloads) add(ctx context.Context, client *archive.Client, p *archive.Package) error {
	err := client.Cache.Copy(ctx, p.SHA256, d.root, p.File())
	if errors.Is(err, fs.ErrNotExist) {
		// Another process has removed or changed it in the meantime.
		if err = client.Fetch(ctx, []*archive.Package{p}, nil); err == nil {
			err = client.Cache.Copy(ctx, p.SHA256, d.root, p.File())
		}
	}
	if err != nil {
		return err
	}
	info, err := d.root.Lstat(p.File())
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copies[p.File()] = stateOf(info)
	return nil
}

// fetch downloads packages that the cache lacks, tells show how far it is, and counts them in report.
func fetch(ctx context.Context, client *archive.Client, packages []*archive.Package, report *progress.Reporter,
	show func(archive.Event)) error {
	var last archive.Event
	err := client.Fetch(ctx, packages, func(e archive.Event) {
		last = e
		show(e)
	})
	report.CountPackages(last.Bytes-last.CachedBytes, last.CachedBytes)
	return err
}

// showDownload returns a function that reports how far a download is as a part of the present step.
func showDownload(report *progress.Reporter) func(archive.Event) {
	return func(e archive.Event) { report.Advance("download", e.Bytes, e.TotalBytes, progress.Bytes) }
}

// keepNew keeps in the cache what debootstrap, apt and hooks downloaded themselves.
func (d *downloads) keepNew(ctx context.Context, cache *archive.Cache) error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".deb") || !e.Type().IsRegular() {
			continue
		}
		if err := d.keep(ctx, cache, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// keep adds a file to the cache unless it came from there.
func (d *downloads) keep(ctx context.Context, cache *archive.Cache, name string) error {
	// A link, a named pipe or a device may have come into its place.
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if was, ok := d.copies[name]; ok && was == stateOf(info) {
		return nil
	}
	_, err = cache.Add(ctx, f)
	return err
}

func stateOf(info fs.FileInfo) fileState {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileState{}
	}
	return fileState{st.Ino, st.Ctim}
}

// saveSuite writes the files of a suite that Resolve has read into a directory that it makes, under the names by which
// the program wget of the toolbox finds them: debootstrap asks no mirror for them, and sees the same state of the
// suite. Those of a mirror that is a directory stay there.
func saveSuite(ctx context.Context, client *archive.Client, r *archive.Release, dir string, components []string,
	arch string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	name, err := wget.FileName(r.Mirror)
	if err != nil {
		return nil // it is a directory
	}
	if err := client.SaveSuite(ctx, r, filepath.Join(dir, name), components, arch); err != nil {
		return fmt.Errorf("save suite %s for debootstrap: %w", r.Name, err)
	}
	return nil
}
