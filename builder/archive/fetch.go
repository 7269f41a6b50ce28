// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

// Event tells how far a Fetch has come.
type Event struct {
	// Package is the name of the package of which something came; Cached says that it was there already.
	Package string
	Cached  bool
	// Bytes and Files are here now; TotalBytes and TotalFiles will be at the end.
	Bytes, TotalBytes int64
	Files, TotalFiles int
}

// Fetch gets into the cache what it lacks of the packages, several at a time, from the mirrors of their indexes. It
// verifies those that are there already. progress may be nil; it is called by one goroutine at a time, for each
// package at its end and now and then before it. After an error, what has come is kept.
func (c *Client) Fetch(ctx context.Context, packages []*Package, progress func(Event)) error {
	m := &meter{report: progress, event: Event{TotalFiles: len(packages)}}
	for _, p := range packages {
		if p.Mirror == "" || !validDigest(p.SHA256) {
			return fmt.Errorf("download package %s %s: its index has no URL and SHA256 for it", p.Name, p.Version)
		}
		m.event.TotalBytes += p.Size
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel())
	for _, p := range packages {
		g.Go(func() error {
			if err := c.fetchPackage(ctx, p, m); err != nil {
				return fmt.Errorf("download package %s %s: %w", p.Name, p.Version, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (c *Client) fetchPackage(ctx context.Context, p *Package, m *meter) error {
	ok, err := c.Cache.Verify(ctx, p.SHA256)
	if err != nil {
		return err
	}
	if ok {
		m.add(p.Name, int(p.Size))
		m.finish(p.Name, true)
		return nil
	}
	// Escaped, as apt does: a mirror has files with a percent sign in their names.
	path := (&url.URL{Path: "/" + p.Filename}).EscapedPath()
	err = c.fetchFile(ctx, p.Mirror+path, File{p.Size, p.SHA256}, func(n int) { m.add(p.Name, n) })
	if err != nil {
		return err
	}
	m.finish(p.Name, false)
	return nil
}

// fetchFile gets one file with a known checksum into the cache.
func (c *Client) fetchFile(ctx context.Context, url string, file File, onBytes func(int)) error {
	tmp, err := c.Cache.create()
	if err != nil {
		return err
	}
	defer tmp.discard()
	t := &transfer{
		client: c, url: url, limit: file.Size, want: file.SHA256,
		dst: tmp, restart: tmp.truncate, sum: sha256.New(), onBytes: onBytes,
	}
	if err := t.run(ctx); err != nil {
		return err
	}
	return tmp.keep(file.SHA256)
}

// meter adds up the progress of all downloads.
type meter struct {
	mu       sync.Mutex
	report   func(Event)
	event    Event
	reported int64 // bytes
}

func (m *meter) add(name string, n int) {
	const step = 256 << 10 // bytes between reports: enough for a smooth display
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Bytes += int64(n)
	if m.event.Bytes-m.reported >= step {
		m.send(name, false)
	}
}

func (m *meter) finish(name string, cached bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Files++
	m.send(name, cached)
}

func (m *meter) send(name string, cached bool) {
	m.reported = m.event.Bytes
	if m.report == nil {
		return
	}
	e := m.event
	e.Package, e.Cached = name, cached
	m.report(e)
}

// Packages reads the index of one component ("main") for one architecture of a suite, from the cache if that has
// it. If the suite has no such component or architecture, the error is an fs.ErrNotExist.
func (c *Client) Packages(ctx context.Context, r *Release, component, arch string) (*Index, error) {
	packages, err := c.packages(ctx, r, component, arch)
	if err != nil {
		return nil, err
	}
	if r.separateAll && arch != "all" {
		all, err := c.packages(ctx, r, component, "all")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		packages = append(packages, all...)
	}
	return NewIndex(packages...)
}

func (c *Client) packages(ctx context.Context, r *Release, component, arch string) ([]*Package, error) {
	base := component + "/binary-" + arch + "/Packages"
	// gzip first: it is the fastest to decompress by far (xz takes 3.5 s for the 57 MB of main, gzip 0.3), and
	// the larger download is nothing beside that.
	for _, suffix := range []string{".gz", ".xz", ""} {
		file, ok := r.Files[base+suffix]
		if !ok {
			continue
		}
		packages, err := c.readPackagesFile(ctx, r, base+suffix, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a Release file may list forms that the mirror does not carry
		}
		if err != nil {
			return nil, fmt.Errorf("index %s of suite %q: %w", base, r.Name, err)
		}
		return packages, nil
	}
	return nil, fmt.Errorf("suite %q at %s has no component %q for %s (components: %s; architectures: %s): %w", r.Name,
		Redact(r.Mirror),
		component, arch, strings.Join(r.Components, " "), strings.Join(r.Architectures, " "), fs.ErrNotExist)
}

func (c *Client) readPackagesFile(ctx context.Context, r *Release, path string, file File) ([]*Package, error) {
	ok, err := c.Cache.Verify(ctx, file.SHA256)
	if err == nil && !ok {
		err = c.fetchIndex(ctx, r, path, file)
	}
	if err != nil {
		return nil, err
	}
	// In memory, the decoder of gzip is half as fast again as from a file.
	data, err := os.ReadFile(c.Cache.Path(file.SHA256))
	if err != nil {
		return nil, err
	}
	plain, err := debfile.Decompress(bytes.NewReader(data), path)
	if err != nil {
		return nil, err
	}
	// The decoder runs beside the parser: a pipe holds what one of the parser's reads takes.
	plainReader, plainWriter := io.Pipe()
	decoded := make(chan struct{})
	go func() {
		defer close(decoded)
		err := guard.Parse(func() error {
			_, err := io.Copy(plainWriter, plain)
			return err
		})
		plainWriter.CloseWithError(err)
	}()
	var packages []*Package
	err = guard.Parse(func() (err error) {
		packages, err = readPackages(plainReader, r.Mirror)
		return err
	})
	err = errors.Join(err, plainReader.Close())
	<-decoded
	if err := errors.Join(err, plain.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return packages, nil
}

// fetchIndex downloads a file of the suite, by its digest if the archive can do that: the file of that name may
// just be replaced by that of the next Release file.
func (c *Client) fetchIndex(ctx context.Context, r *Release, path string, file File) error {
	dist := r.Mirror + "/dists/" + r.Name + "/"
	if r.byHash {
		dir := path[:strings.LastIndexByte(path, '/')+1]
		err := c.fetchFile(ctx, dist+dir+"by-hash/SHA256/"+file.SHA256, file, nil)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return c.fetchFile(ctx, dist+path, file, nil)
}
