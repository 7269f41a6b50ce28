// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// engine adapts *oci.Engine to builder.Engine: Go requires the results of methods to have exactly the
// interface's types.
type engine struct{ *oci.Engine }

func (e engine) Scratch(ctx context.Context) (builder.Rootfs, error) {
	c, err := e.Engine.Scratch(ctx)
	if err != nil {
		return nil, err
	}
	return container{c}, nil
}

func (e engine) From(ctx context.Context, snapshot string) (builder.Rootfs, error) {
	c, err := e.Engine.From(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return container{c}, nil
}

// container adapts *oci.Container to builder.Rootfs, for the same reason.
type container struct{ *oci.Container }

func (c container) Before(ctx context.Context, n int) (builder.Rootfs, error) {
	before, err := c.Container.Before(ctx, n)
	if err != nil {
		return nil, err
	}
	return container{before}, nil
}

// openStore opens the container store and the package cache of a state directory. It calls damaged for each damaged
// snapshot that it finds in the store.
func (e environment) openStore(ctx context.Context, dir string, log *slog.Logger, damaged func(oci.Damage)) (engine,
	*archive.Cache, error) {
	return e.openStores(ctx, storeDir(dir), packagesDir(dir), log, damaged)
}

// openStores is openStore with the directories of both.
func (e environment) openStores(ctx context.Context, stored, packages string, log *slog.Logger,
	damaged func(oci.Damage)) (engine, *archive.Cache, error) {
	// The store comes first: its lock keeps oci.Clear from removing both.
	store, err := oci.Open(ctx, oci.EngineOptions{
		Place: e.host, StateDir: stored, Resolver: e.resolver(), Now: e.now, Log: log, Damaged: damaged,
	})
	if err != nil {
		return engine{}, nil, err
	}
	cache, err := archive.NewCache(packages)
	if err != nil {
		return engine{}, nil, errors.Join(err, store.Close())
	}
	return engine{store}, cache, nil
}

// resolver returns the content of resolv.conf. Without one, programs of the build cannot resolve names.
func (e environment) resolver() []byte {
	text, err := os.ReadFile(filepath.Join(e.etc, "resolv.conf"))
	if err != nil {
		return nil
	}
	return text
}

// hosts returns the content of /etc/hosts.
func (e environment) hosts() []byte {
	text, err := os.ReadFile(filepath.Join(e.etc, "hosts"))
	if err != nil {
		return nil
	}
	return text
}

// build executes a job, inside the namespaces that oci.Reexec has made.
func build(ctx context.Context, j *job) (err error) {
	j.report.Begin("prepare")
	if err := j.env.checkProxies(); err != nil {
		return err
	}
	if why := j.env.host.Why; why != "" {
		j.report.Message(fmt.Sprintf("make containers with the isolation %s: %s", j.env.host.Isolation, why))
	}
	dir, err := j.env.stateDir(j.settings.stateDir)
	if err != nil {
		return err
	}
	j.remember(dir)
	libraries, err := linked(buildInfo())
	if err != nil {
		return err
	}
	version, err := builder.StepVersions(oci.SourceCode, libraries)
	if err != nil {
		return err
	}
	stored := dir
	if j.verified != "" {
		// Nothing of earlier builds but packages, which have digests.
		stored = rebuildDir(dir)
		if err := clearRebuild(ctx, stored); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, clearRebuild(context.WithoutCancel(ctx), stored)) }()
	}
	store, packages, err := j.env.openStores(ctx, storeDir(stored), packagesDir(dir), j.log, j.damaged)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if why := store.NoOverlay(); why != nil && j.env.host.Isolation != oci.IsolationChroot {
		j.report.Warn(fmt.Sprintf("each result of a step takes the room of a full copy, because overlay does not work: %v", why))
	}
	removed := countResults(j.report, "remove")
	// Other files may have filled the disk since the last build.
	if err := evict(store, dir, j.settings.cacheLimit, removed); err != nil {
		j.report.Warn(fmt.Sprintf("the cache was not reduced to --cache-limit: %v", err))
	}
	lock, err := j.lock()
	if err != nil {
		return err
	}
	downloads, err := j.downloadClient(packages)
	if err != nil {
		return err
	}
	if err := lock.Take(ctx, j.spec, filepath.Join(store.TempDir(), "inputs"), downloads); err != nil {
		return err
	}
	if err := lock.CheckInputs(j.spec); err != nil {
		return err
	}
	client, err := j.archiveClient(packages, lock)
	if err != nil {
		return err
	}
	file, err := programFile(store.TempDir())
	if err != nil {
		return err
	}
	_, ca, err := j.authorities()
	if err != nil {
		return err
	}
	ids, err := j.env.host.IDs()
	if err != nil {
		return err
	}
	x := &builder.Executor{
		Version: programName + " " + buildVersion(release, buildInfo()),
		Program: file, IDs: ids, CA: ca, Hosts: j.env.hosts(),
		Engine: store, Archive: client, TempDir: store.TempDir(), StateDir: dir,
		Environ: j.env.environ, Dir: j.env.dir,
		Resolver: j.env.resolver(), Log: j.log, Output: lineLogger{j.log}, Progress: j.report,
		Stdout: j.stdout, FreeSpace: freeSpace, StepFailed: j.lookForSpace,
		Cache: j.cache(version, dir),
	}
	x.Cache.Ours = append(j.ownFiles(), dir)
	x.Settings, x.HiddenSettings = j.settings.toLock()
	x.SignKey = j.settings.signKey
	if j.verbose {
		x.HookOutput = j.out
	}
	if j.settings.debugShell {
		x.DebugShell = func(ctx context.Context, left builder.Target, failed error) error {
			j.display.Close() // the terminal is the shell's
			fmt.Fprintf(j.err, "%v\nThis is a shell in the system as the failed step left it; \"exit\" ends the build.\n",
				failed)
			if err := interactiveShell(ctx, left, j.env, os.Stderr); err != nil {
				return fmt.Errorf("--debug-shell: %w", err)
			}
			return nil
		}
	}
	if err := errors.Join(x.CheckExports(ctx, j.spec), x.CheckShares(ctx)); err != nil {
		return err
	}
	lock, sources, err := x.Resolve(ctx, j.spec, lock)
	if err != nil {
		return err
	}
	if err := savePackageNames(dir, j.spec.Options(), sources.Target); err != nil {
		j.report.Warn(fmt.Sprintf("names of packages are not kept for completion: %v", err))
	}
	result, err := x.Build(ctx, j.spec, lock, sources)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	if j.verified != "" {
		return j.compare(ctx, result, store.TempDir())
	}
	if err := result.Write(ctx); err != nil {
		return err
	}
	shareErr := result.Share(ctx)
	if err := evict(store, dir, j.settings.cacheLimit, removed); err != nil {
		j.report.Warn(fmt.Sprintf("the cache was not reduced to --cache-limit: %v", err))
	}
	return sharedLast(shareErr)
}

// cache returns the settings of the cache for steps of a version, with the state directory dir.
func (j *job) cache(version func(kind string) string, dir string) builder.Cache {
	c := builder.Cache{
		Version: version, Rebuild: !j.settings.cache, Records: recordsDir(dir), Now: j.env.now,
		From: j.settings.cacheFrom, To: j.settings.cacheTo,
		SkipTLSVerify: !j.settings.options.TLSVerify, Key: j.settings.key, Warn: j.report.Warn,
	}
	if j.settings.explainCache {
		c.Explain = func(text string) { fmt.Fprintln(j.out, text) }
	}
	return c
}

// sharedLast returns the error of sharing results, which is the last that a call does.
func sharedLast(err error) error {
	if err != nil {
		return fmt.Errorf("all outputs are written, but --cache-to: %w", err)
	}
	return nil
}

// damaged warns about damage in the cache.
func (j *job) damaged(d oci.Damage) {
	j.report.Warn(damageText(d))
	if j.settings.explainCache && d.Snapshot.Name != "" {
		fmt.Fprintf(j.out, "damaged: %s: %v\n", damagedTitle(d), d.Err)
	}
}

// ownFiles lists the files and directories that this program writes, outputs and messages, also for other images at the
// same time, and the key of the cache. None of them is an input of any step.
func (j *job) ownFiles() []string {
	names := slices.Concat(j.spec.Written(), j.env.call.written,
		[]string{j.settings.output, j.settings.log.destination, j.settings.cacheKey})
	var all []string
	for _, name := range names {
		if name != "" {
			all = append(all, absolute(j.env.dir, name))
		}
	}
	return all
}

// absolute returns name as an absolute path; a relative one is relative to dir.
func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

// programFile returns the name of this program's file, or that of a copy in dir if the file has been removed
// or replaced.
func programFile(dir string) (string, error) {
	const self = "/proc/self/exe"
	name, err := os.Readlink(self)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	want, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if got, err := os.Stat(name); err == nil && os.SameFile(got, want) {
		return name, nil
	}
	in, err := os.Open(self)
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer in.Close()
	name = filepath.Join(dir, programName)
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", fmt.Errorf("copy this program: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("copy this program: %w", err)
	}
	return name, nil
}

// placeholderPlan returns the plan of a build. Its IDs are placeholders for those that the build would choose.
func placeholderPlan(spec builder.Spec, now time.Time) (builder.Plan, error) {
	return builder.NewPlan(spec, builder.Lock{Codename: spec.Codename(), Seed: uuid.Max, Time: now})
}

// checkProxies returns an error for a variable that names a proxy in a way that Go does not understand: the build would
// ignore it. The value can hold a password.
func (e environment) checkProxies() error {
	var errs []error
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		text := e.getenv(name)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") { // as in golang.org/x/net/http/httpproxy
			text = "http://" + text
		}
		if u, err := url.Parse(text); err != nil || u.Hostname() == "" {
			errs = append(errs, fmt.Errorf("the variable %s is not the URL of a proxy, such as http://HOST:PORT", name))
		}
	}
	return errors.Join(errs...)
}

// archiveClient returns a client for the mirror, which uses a proxy if the environment names one.
func (j *job) archiveClient(cache *archive.Cache, lock builder.Lock) (*archive.Client, error) {
	client, err := j.downloadClient(cache)
	if err != nil {
		return nil, err
	}
	client.Keyring, client.Now, client.Snapshot = archive.DefaultKeyring(), j.spec.Clock(), j.spec.SnapshotTime()
	client.AllowExpired, client.Mirrors, client.States = j.spec.Options().AllowExpired, j.spec.Mirrors(), j.spec.States()
	if lock.SeedFixed { // by SOURCE_DATE_EPOCH or a lock file
		client.Today = lock.Time
	}
	trust := j.spec.Trust()
	client.NoCheck = trust.NoCheck
	if trust.Keyring != "" {
		client.UserKeyring = true
		f, err := os.Open(lock.Copy(trust.Keyring))
		if err != nil {
			return nil, fmt.Errorf("--debootstrapopts keyring: %w", err)
		}
		defer f.Close()
		if client.Keyring, err = archive.ReadKeyring(f); err != nil {
			return nil, fmt.Errorf("--debootstrapopts keyring=%s: %w", trust.Keyring, err)
		}
	}
	return client, nil
}

// downloadClient returns a client for files that are in no archive.
func (j *job) downloadClient(cache *archive.Cache) (*archive.Client, error) {
	roots, _, err := j.authorities()
	if err != nil {
		return nil, err
	}
	return &archive.Client{HTTP: archive.NewHTTPClient(http.ProxyFromEnvironment, roots), Cache: cache,
		Warn: j.report.Warn}, nil
}

// authorities returns the certificates that mirrors are verified by: those of the host and of --ca. pool is for this
// program; nil stands for the host's. text, in PEM, is for programs of the build; nil if they need none but their own.
func (j *job) authorities() (pool *x509.CertPool, text []byte, err error) {
	o := j.spec.Options()
	if o.CA == "" {
		if !j.spec.Encrypted() && j.env.getenv(sslCertFile) == "" {
			return nil, nil, nil
		}
		return nil, j.env.certificates(), nil
	}
	own, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("--ca: %w", err)
	}
	if pool, err = x509.SystemCertPool(); err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(own) {
		return nil, nil, fmt.Errorf("--ca: %s has no certificate in PEM", o.CA)
	}
	return pool, slices.Concat(j.env.certificates(), []byte("\n"), own), nil
}

// fullError is the error of a build that found a file system full. Programs of the build say that in many
// ways, or not at all.
type fullError struct {
	error
	// dir is on the file system, and option says what else helps.
	dir, option string
}

func (e *fullError) Unwrap() error { return e.error }

// leastFree is when a file system counts as full: what ran out of room may have removed its own last file.
const leastFree = 16 * diskimage.MiB

// freeSpace returns the free space of the file system of a directory, which need not exist yet.
func freeSpace(dir string) (builder.FreeSpace, error) {
	dir = oci.ExistingDir(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return builder.FreeSpace{}, fmt.Errorf("get the free space of %s: %w", dir, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return builder.FreeSpace{}, fmt.Errorf("get the file system of %s: %w", dir, err)
	}
	free := builder.FreeSpace{
		Device: st.Dev, Bytes: diskimage.Size(fs.Bavail) * diskimage.Size(fs.Bsize), Inodes: math.MaxUint64,
	}
	if fs.Blocks == 0 { // some network file systems do not tell
		free.Bytes = math.MaxUint64
	}
	if fs.Files > 0 { // btrfs has no table of inodes
		free.Inodes = fs.Ffree
	}
	return free, nil
}

// lookForSpace looks, when a build or a step of it has failed, whether one of the file systems that it writes to is
// full. A build removes the files of a failed step, so that there is room afterwards.
func (j *job) lookForSpace(err error) error {
	var known *fullError
	if err == nil || errors.As(err, &known) {
		return err
	}
	var places []fullError
	if dir, dirErr := j.env.stateDir(j.settings.stateDir); dirErr == nil {
		places = append(places, fullError{dir: dir, option: ", or name another directory with --state-dir"})
	}
	for _, name := range j.spec.Outputs() {
		places = append(places, fullError{dir: filepath.Dir(absolute(j.env.dir, name))})
	}
	for _, p := range places {
		free, freeErr := freeSpace(p.dir)
		if freeErr == nil && (free.Bytes < leastFree || free.Inodes == 0) {
			return &fullError{err, p.dir, p.option}
		}
	}
	return err
}
