// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// sharedPackages makes a directory of downloads with packages of a test's archive.
func sharedPackages(t *testing.T, names ...string) (*downloads, *archive.Client, []*archive.Package) {
	t.Helper()
	d, client, packages := expectedPackages(t, names...)
	if err := d.fill(t.Context(), client, packages, nil, func(archive.Event) {}); err != nil {
		t.Fatal(err)
	}
	return d, client, packages
}

// expectedPackages makes an empty directory of downloads, and packages of a test's archive.
func expectedPackages(t *testing.T, names ...string) (*downloads, *archive.Client, []*archive.Package) {
	t.Helper()
	repo := archivetest.NewRepository(t)
	for _, name := range names {
		repo.Add(archivetest.Deb{Name: name, Version: "1:1.0"})
	}
	client := archiveClient(t, repo)
	release, err := client.Release(t.Context(), repo.URL(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	index, err := client.Packages(t.Context(), release, "main", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var packages []*archive.Package
	for p := range index.All() {
		packages = append(packages, p)
	}
	d, err := newDownloads(filepath.Join(t.TempDir(), "archives"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, client, packages
}

// A gatedTransport delays requests for files with Name in their names until Gate is closed, and then answers with Err
// if that is set.
type gatedTransport struct {
	Name string
	Gate chan struct{}
	Err  error
}

func (g gatedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, g.Name) {
		select {
		case <-g.Gate:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		if g.Err != nil {
			return nil, g.Err
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// A first build waited for the kernel's 100 MB before debootstrap began, which needs none of them.
func TestPackagesOfLaterStepsArriveMeanwhile(t *testing.T) {
	t.Parallel()
	broken := errors.New("the mirror is gone")
	for _, want := range []error{nil, broken} {
		d, client, packages := expectedPackages(t, "base", "kernel")
		gate := gatedTransport{Name: "kernel", Gate: make(chan struct{}), Err: want}
		client.HTTP = &http.Client{Transport: gate}
		client.Backoff = time.Nanosecond
		var events []progress.Event
		report := progress.New(func(e progress.Event) { events = append(events, e) }, time.Now, nil)
		isKernel := func(p *archive.Package) bool { return p.Name == "kernel" }
		d.start(t.Context(), client, slices.DeleteFunc(slices.Clone(packages), isKernel),
			packages[slices.IndexFunc(packages, isKernel):][:1], report)
		if err := d.base.wait(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			if _, err := d.root.Lstat(p.File()); (err == nil) == isKernel(p) {
				t.Errorf("%s before debootstrap: %v", p.Name, err)
			}
		}
		given, give := context.WithCancel(t.Context())
		give()
		if err := d.all.wait(given, report); !errors.Is(err, context.Canceled) {
			t.Errorf("all packages are there: %v", err)
		}
		close(gate.Gate)
		if err := d.all.wait(t.Context(), report); !errors.Is(err, want) {
			t.Errorf("the kernel's download: %v, want %v", err, want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if usage := report.Usage(); want == nil && usage.Downloaded != packages[0].Size+packages[1].Size {
			t.Errorf("%d bytes were counted", usage.Downloaded)
		}
	}
}

// Close must not leave a download behind that nobody waited for.
func TestDownloadsEndWithTheBuild(t *testing.T) {
	t.Parallel()
	d, client, packages := expectedPackages(t, "kernel")
	client.HTTP = &http.Client{Transport: gatedTransport{Name: "kernel", Gate: make(chan struct{})}}
	d.start(t.Context(), client, nil, packages, nil)
	if err := d.base.wait(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.all.wait(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the download has not been ended: %v", err)
	}
}

func damage(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("evil"), 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Issue 12, A8: a hook that wrote to the packages that were shared with it wrote to the cache, through hard links.
func TestWhatIsWrittenToSharedPackagesIsNotInTheCache(t *testing.T) {
	t.Parallel()
	d, client, packages := sharedPackages(t, "hello", "world")
	for _, p := range packages {
		damage(t, filepath.Join(d.dir, p.File()))
		data, err := os.ReadFile(client.Cache.Path(p.SHA256))
		if err != nil || fmt.Sprintf("%x", sha256.Sum256(data)) != p.SHA256 {
			t.Errorf("%s in the cache was changed: %v", p.File(), err)
		}
	}
	// What a hook made of a package is one more file of its own digest, as any other that it left there.
	if err := d.keepNew(t.Context(), client.Cache); err != nil {
		t.Fatal(err)
	}
	const others = 3 // the Release file, the index and its text
	if files, _, err := client.Cache.Usage(); err != nil || files != others+2*len(packages) {
		t.Errorf("the cache has %d files, %v", files, err)
	}
}

func TestAPackageThatChangedInTheCacheIsFetchedAgain(t *testing.T) {
	t.Parallel()
	d, client, packages := sharedPackages(t, "hello")
	p := packages[0]
	damage(t, client.Cache.Path(p.SHA256))
	if err := client.Cache.Copy(t.Context(), p.SHA256, d.root, "copy"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the changed file is used: %v", err)
	}
	if _, err := d.root.Lstat("copy"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy of the changed file is there: %v", err)
	}
	if err := d.root.Remove(p.File()); err != nil {
		t.Fatal(err)
	}
	if err := d.fill(t.Context(), client, packages, nil, func(archive.Event) {}); err != nil {
		t.Fatal(err)
	}
	data, err := d.root.ReadFile(p.File())
	if err != nil || fmt.Sprintf("%x", sha256.Sum256(data)) != p.SHA256 {
		t.Errorf("the package shared is not the mirror's: %v", err)
	}
}

func TestOnlyNewPackagesOfTheDirectoryAreKept(t *testing.T) {
	t.Parallel()
	d, client, _ := sharedPackages(t, "hello")
	outside := filepath.Join(t.TempDir(), "secret")
	err := errors.Join(
		os.WriteFile(outside, []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(d.dir, "new_1_amd64.deb"), []byte("new"), 0o644),
		os.WriteFile(filepath.Join(d.dir, "notes"), []byte("notes"), 0o644),
		os.Symlink(outside, filepath.Join(d.dir, "link_1_amd64.deb")),
		os.Mkdir(filepath.Join(d.dir, "directory_1_amd64.deb"), 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := client.Cache.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.keepNew(t.Context(), client.Cache); err != nil {
		t.Fatal(err)
	}
	if after, _, err := client.Cache.Usage(); err != nil || after != before+1 {
		t.Errorf("%d files came into the cache, want the new package alone (%v)", after-before, err)
	}
	if ok, err := client.Cache.Verify(context.Background(), fmt.Sprintf("%x", sha256.Sum256([]byte("new")))); !ok ||
		err != nil {
		t.Errorf("the new package was not kept: %v", err)
	}
	// Whatever is in an index, nothing is written outside of the directory.
	p := &archive.Package{Name: "../evil", Version: "1", Architecture: "all"}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte("new")))
	if err := client.Cache.Copy(t.Context(), digest, d.root, p.File()); err == nil {
		t.Error("a name with ../ leads out of the directory")
	}
}
