// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Executor carries plans out. All that it needs of the outside world is in its fields.
type Executor struct {
	Engine  Engine
	Archive *archive.Client
	// TempDir is an empty directory for files of this build; the caller removes it.
	TempDir string
	// StateDir is the directory above the cache, the store and TempDir, by which users know them.
	StateDir string
	// Environ and Dir are the caller's environment and working directory, which hooks see.
	Environ []string
	Dir     string
	// Version is the name of this program and its version, for manifests and locks: "vmdebootstrap 1.8.0".
	Version string
	// Settings are those of the build that a lock records, and HiddenSettings the names of those with secrets.
	Settings       []lockfile.Setting
	HiddenSettings []string
	// SignKey signs the statement of --provenance; nil leaves it unsigned.
	SignKey *CacheKey
	// Program is the file of this program. It takes the names pkgdetails.Name, pkgdetails.Extract, wget.Name, dpkg.Name,
	// dpkg.Chroot and depmod.Name in the containers, and must do then what pkgdetails.Run, wget.Program and the functions
	// of packages dpkg and depmod do.
	Program string
	// IDs is how many ids from 0 on can own files of the target; 0 if there is no limit.
	IDs uint32
	// Resolver is the content of the host's resolv.conf, which containers get and the image must not keep.
	Resolver []byte
	// CA has the certificates that programs of the build verify servers by, in PEM; nil for those that they have.
	CA []byte
	// Hosts is the host's /etc/hosts, whose names programs of the build can resolve.
	Hosts []byte
	Cache snapshot.Settings
	Log   *slog.Logger
	// Output receives what the programs of the build print, a line with each Write; nil drops it.
	Output io.Writer
	// HookOutput receives in addition what scripts and commands of the user print; nil drops it.
	HookOutput io.Writer
	// Stdout receives the tarball that is called StandardOutput.
	Stdout io.Writer
	// FreeSpace returns the free space of the file system of a directory, which need not exist yet. nil leaves space
	// unchecked.
	FreeSpace func(dir string) (FreeSpace, error)
	// StepFailed, if not nil, is called with the error of a step while its files are there, and returns one that may say
	// more.
	StepFailed func(failed error) error
	// Progress receives what the build does; nil drops it.
	Progress *progress.Reporter
	// DebugShell, if not nil, is called with the root file system as a failed step left it, and the step's error,
	// before the build ends.
	DebugShell func(ctx context.Context, left Target, failed error) error
}

// Result is what a build has made. Close throws it away.
type Result struct {
	// Plan is what was done and how the disk is laid out.
	Plan    Plan
	Rootfs  Rootfs
	Toolbox Rootfs
	x       *Executor
	site    *step.Context
	chain   *snapshot.Chain
	stages  *stages
	early   *earlyInitramfs
	spec    Spec
	lock    Lock
	sources Sources
	// disk is the disk image with its final layout; nil before it is written.
	disk *Disk
	// unnamed are the files that were written under names which no option has: those in directories of outputs.
	unnamed []string
	// manifest is what Manifest has read; nil before.
	manifest *manifest.Manifest
}

// Close deletes the working containers; the toolbox stays in the store.
func (r *Result) Close() error {
	errs := []error{r.early.Close(), r.stages.close()}
	for _, c := range []Rootfs{r.Rootfs, r.Toolbox} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Build makes the root file system, from the longest chain of its steps that a snapshot holds on. If another build
// makes one of the results first, it begins again, from that.
func (x *Executor) Build(ctx context.Context, spec Spec, lock Lock, src Sources) (result *Result, err error) {
	for {
		try := *x
		if try.TempDir, err = os.MkdirTemp(x.TempDir, "build-"); err != nil {
			return nil, err
		}
		result, err = try.build(ctx, spec, lock, src)
		if !errors.Is(err, snapshot.ErrMade) {
			return result, err
		}
	}
}

func (x *Executor) build(ctx context.Context, spec Spec, lock Lock, src Sources) (result *Result, err error) {
	estimated, err := estimate(spec, src.Target)
	if err != nil {
		return nil, elsewhere(ctx, spec, x.Archive, src.Release, err)
	}
	tools, err := spec.toolboxContent(src)
	if err != nil {
		return nil, fmt.Errorf("make the toolbox: %w", err)
	}
	plan, err := NewPlan(spec, lock)
	if err != nil {
		return nil, err
	}
	uncertain := spec.Options().Recommends || len(spec.Options().Actions) > 0
	if err := checkRoom(plan.Disk, estimated, uncertain); err != nil {
		return nil, err
	}
	expected := chosenBefore(ctx, x.Archive.Cache, spec, src.Target, estimated)
	packages := expected.packages
	x.Progress.Begin("look for results of earlier builds")
	store := x.snapshots(tools.name, spec.hookScripts(), lock)
	defer func() { err = errors.Join(err, store.Unlock()) }()
	identities := snapshotSteps(plan.identities)
	begin, rootfs, err := store.Begin(ctx, identities)
	if err != nil {
		return nil, err
	}
	result = &Result{x: x, Plan: plan, Rootfs: rootfs, spec: spec, lock: lock, sources: src}
	defer func() {
		if err != nil {
			err = errors.Join(err, result.Close())
			result = nil
		}
	}()
	plan, seed, err := plan.resumed(spec, lock, begin)
	if err != nil {
		return result, err
	}
	result.Plan, result.chain = plan, store.Resume(begin, rootfs, seed)
	if plan.Disk != nil {
		result.chain.IDs = plan.Disk.ids()
	}
	if lock.SeedFixed {
		result.chain.Epoch = lock.Time
	}
	remaining := plan.Steps[len(begin.Entries):]
	var missing []*archive.Package
	var indexes []moduleIndexes
	downloads := append(slices.Clip(packages), spec.lockedPackages(src.Target, packages)...)
	if len(begin.Entries) == 0 && len(src.Repositories) > 0 {
		base, err := bootstrapPackages(spec, src.Main)
		if err != nil {
			return result, err
		}
		downloads = append(downloads, slices.DeleteFunc(base,
			func(p *archive.Package) bool { return slices.Contains(packages, p) })...)
	}
	if slices.ContainsFunc(remaining, step.Step.Installs) || spec.w.Locked != nil && len(remaining) > 0 {
		if missing, err = notInstalled(result.Rootfs, downloads); err != nil {
			return result, err
		}
	}
	work := workload{stateDir: x.StateDir, cwd: x.Dir, install: missing, all: packages}
	if _, err := x.Engine.Labels(tools.name); errors.Is(err, fs.ErrNotExist) {
		work.toolbox = tools.packages
	}
	if x.Engine.CopiesSnapshots() {
		for _, s := range remaining {
			if s.Kept() {
				work.copies++
			}
		}
	}
	if err := x.checkSpace(plan, work); err != nil {
		return result, err
	}
	x.Progress.Plan(result.titles())
	archives, err := newDownloads(filepath.Join(x.TempDir, "archives"))
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, archives.Close()) }()
	if len(missing) > 0 {
		base, rest := missing, []*archive.Package(nil)
		if len(begin.Entries) == 0 {
			if base, rest, err = splitBootstrap(spec, src.Main, missing); err != nil {
				return result, err
			}
		}
		archives.start(ctx, x.Archive, base, rest, x.Progress)
	}
	if result.Toolbox, err = x.toolbox(ctx, spec, src); err != nil {
		return result, fmt.Errorf("make the toolbox: %w", err)
	}
	var emulator []string
	if spec.NeedsEmulation() {
		if emulator, err = x.emulate(ctx, spec, src, result.Toolbox); err != nil {
			return result, err
		}
	}
	keyring := lock.Copy(spec.Trust().Keyring)
	if keyring == "" && !spec.Trust().NoCheck {
		keyring = filepath.Join(x.TempDir, "keyring.gpg")
		if err := writeKeyring(keyring, src.Release); err != nil {
			return result, fmt.Errorf("write the keyring for debootstrap: %w", err)
		}
	}
	// apt knows the clock only: what was valid on the day of the build is valid for it, and what apt fetches of a lock or
	// a snapshot is of that day.
	expired := spec.o.AllowExpired || spec.w.Locked != nil || spec.ofSnapshot() || src.Release.ExpiredAt(x.Archive.Now) ||
		slices.ContainsFunc(src.Repositories,
			func(r foundRepository) bool { return r.release.ExpiredAt(x.Archive.Now) })
	access, err := step.NewAccess(filepath.Join(x.TempDir, "access"),
		step.AccessOptions{Unauthenticated: spec.Trust().NoCheck, AllowExpired: expired,
			Mirrors: spec.urls(), CA: x.CA, Hosts: x.Hosts, RealDpkg: spec.realDpkg()})
	if err != nil {
		return result, fmt.Errorf("write the settings of apt: %w", err)
	}
	mirror := filepath.Join(x.TempDir, "mirror")
	if len(begin.Entries) == 0 {
		if err := saveSuite(ctx, x.Archive, src.Release, mirror, components(spec.o, spec.release), spec.o.Arch); err != nil {
			return result, err
		}
	}
	lists := filepath.Join(x.TempDir, "lists")
	if err := saveLists(ctx, spec, x.Archive, src, lists); err != nil {
		return result, err
	}
	if len(missing) > 0 {
		x.Progress.Begin(getPackages)
		x.Progress.Message(fmt.Sprintf("get %d packages", len(missing)))
		if err := archives.base.wait(ctx, x.Progress); err != nil {
			return result, err
		}
		if !spec.realDpkg() {
			if indexes, err = moduleIndexesOf(packages, src.Target); err != nil {
				return result, err
			}
			indexes = slices.DeleteFunc(indexes, func(m moduleIndexes) bool { return !slices.Contains(missing, m.packages[0]) })
			archives.derive(ctx, x, missing, indexes, emulator)
		}
	} else {
		x.Progress.Cached(getPackages)
	}
	for _, title := range plan.titles(plan.Steps[:len(begin.Entries)]) {
		x.Progress.Cached(title)
	}
	result.site = &step.Context{
		Target: result.Rootfs, Toolbox: result.Toolbox, Archives: archives.dir, Derived: archives.derivedDir,
		WaitForPackages: func(ctx context.Context) error { return archives.all.wait(ctx, x.Progress) },
		WaitForIndexes:  archives.waitForIndexes,
		Mirror:          mirror, Lists: lists, Access: access, Keyring: keyring, Program: x.Program,
		FreshToolbox: func(ctx context.Context) (Rootfs, error) { return x.Engine.From(ctx, tools.name) },
		Proxy:        proxyEnviron(x.Environ), Environ: x.Environ, Dir: x.Dir, Tmp: x.TempDir, Resolver: x.Resolver,
		Log: x.Log, Out: step.NewTail(&installs{next: x.Output, report: x.Progress},
			append(spec.urls(), spec.o.AptMirror, spec.o.ToolsMirror)...),
		Epoch: lock.epoch(), Emulator: emulator, Seed: seed,
		Outputs: outputs{result.chain}, KeepIdentity: spec.o.KeepIdentity, RealDpkg: spec.realDpkg(),
		HookOutput: x.HookOutput, Stages: map[string]Target{}, CacheMount: x.cacheMount,
		Installed: func(ctx context.Context) {
			if err := expected.keep(ctx, result.Rootfs); err != nil {
				x.Log.Debug("keep the names of the packages that apt has chosen", "error", err)
			}
		},
	}
	result.stages = &stages{x: x, plan: plan, seed: seed, site: result.site, chain: result.chain,
		snapshots: func() *snapshot.Store { return x.snapshots(tools.name, spec.hookScripts(), lock) }}
	if len(indexes) > 0 && !x.Engine.CopiesSnapshots() && runtime.NumCPU() > 1 {
		result.early = &earlyInitramfs{x: x, site: result.site, chain: result.chain, packages: packages, archives: archives}
		for _, m := range indexes {
			result.early.versions = append(result.early.versions, m.version)
		}
	}
	err = x.runSteps(ctx, remaining, identities[len(begin.Entries):], result.chain, result.site, result.stages,
		result.early)
	if err != nil {
		return result, err
	}
	store.Close(ctx)
	return result, archives.keepNew(ctx, x.Archive.Cache)
}

// Titles of steps that are in no Plan.
const (
	readLists   = "read the package lists"
	makeToolbox = "make the toolbox"
	getPackages = "get packages"
	unpackRoot  = "unpack the root file system"
)

// titles returns the titles of the steps that follow when it is known where the build begins.
func (r *Result) titles() []string {
	titles := append([]string{makeToolbox, getPackages}, r.Plan.titles(r.Plan.Steps)...)
	for _, o := range r.finalSteps() {
		titles = append(titles, o.title)
	}
	for _, to := range r.x.Cache.To {
		titles = append(titles, snapshot.PushTitle(to))
	}
	return titles
}

// checkSpace refuses a build that its file systems have no room for, before anything is downloaded for it.
func (x *Executor) checkSpace(plan Plan, work workload) error {
	if x.FreeSpace == nil {
		return nil
	}
	for _, p := range slices.Concat(work.install, work.toolbox) {
		if _, err := os.Stat(x.Archive.Cache.Path(p.SHA256)); err != nil {
			work.download += diskimage.Size(p.Size)
		}
	}
	return errors.Join(checkSpace(plan.spaceNeeds(work), x.FreeSpace)...)
}

// snapshots returns the store of snapshots for a build with this toolbox, these hooks and this lock.
func (x *Executor) snapshots(toolbox string, scripts []string, lock Lock) *snapshot.Store {
	return snapshot.New(snapshot.Config{
		Settings: x.Cache, Engine: x.Engine, TempDir: x.TempDir, Environ: x.Environ, Dir: x.Dir, Log: x.Log,
		Progress: x.Progress,
		Toolbox:  toolbox, Scripts: scripts, Epoch: lock.fixed(),
	})
}

// snapshotSteps are steps as the cache sees them.
func snapshotSteps(steps []step.Step) []snapshot.Step {
	all := make([]snapshot.Step, len(steps))
	for i, s := range steps {
		all[i] = s
	}
	return all
}

// runSteps runs steps, and keeps the results of those that are kept under the digests of the identities, which are the
// same steps without random IDs. stages makes the stages that they use; nil if there are none.
func (x *Executor) runSteps(
	ctx context.Context, steps []step.Step, identities []snapshot.Step, chain *snapshot.Chain, s *step.Context,
	stages *stages, early *earlyInitramfs,
) error {
	for i, next := range steps {
		early.start(ctx, next, steps[i+1:])
		if err := stages.makeFor(ctx, next); err != nil {
			return err
		}
		if err := chain.Run(ctx, identities[i], func() error { return x.runStep(ctx, next, s) }); err != nil {
			return err
		}
	}
	return nil
}

// CheckShares finds out before the work begins whether snapshots can be put where --cache-to says.
func (x *Executor) CheckShares(ctx context.Context) error {
	return x.snapshots("", nil, Lock{}).CheckTargets(ctx)
}

// Share puts the snapshots of a finished build where --cache-to says, as far as they are not there yet.
func (r *Result) Share(ctx context.Context) error {
	return r.chain.Push(ctx, ociimage.Image{Created: r.lock.Time, Platform: platform(r.spec.Arch())}, r.stages.chains)
}

// outputs is a chain as steps see it.
type outputs struct{ chain *snapshot.Chain }

// Make implements step.OutputCache. The target is that of the chain.
func (o outputs) Make(ctx context.Context, _ Target, of step.Output, run func() error) error {
	return o.chain.MakeOutputs(ctx, snapshot.Outputs(of), run)
}

// notInstalled leaves out the packages that the root file system has already.
func notInstalled(root fileReader, packages []*archive.Package) ([]*archive.Package, error) {
	known, err := readDpkgStatus(root)
	if err != nil {
		return nil, err
	}
	installed := map[string]string{}
	for _, p := range known {
		installed[p.Get("Package")] = p.Get("Version")
	}
	return slices.DeleteFunc(slices.Clone(packages),
		func(p *archive.Package) bool { return installed[p.Name] == p.Version }), nil
}

func (x *Executor) runStep(ctx context.Context, setup step.Step, s *step.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.Progress.Announce(setup.Title())
	s.Out.Reset()
	if _, first := setup.(step.Debootstrap); !first && s.WaitForPackages != nil {
		if err := s.WaitForPackages(ctx); err != nil {
			return err
		}
	}
	before, err := step.KeyMakers(s.Target)
	if err != nil {
		return err
	}
	if err := setup.Run(ctx, s); err != nil {
		err = &step.Error{Step: setup, Output: s.Out.Unshown(), Err: err}
		if x.StepFailed != nil {
			err = x.StepFailed(err)
		}
		if x.DebugShell == nil || ctx.Err() != nil {
			return err
		}
		return errors.Join(err, x.DebugShell(ctx, s.Target, err))
	}
	if err := step.CheckIDs(s.Target, x.IDs); err != nil {
		return &step.Error{Step: setup, Err: err}
	}
	if s.KeepIdentity {
		return nil
	}
	return step.RemoveMachineKeys(s.Target, before)
}

// proxyEnviron picks the variables that programs find a proxy by.
func proxyEnviron(environ []string) []string {
	var proxy []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy":
			proxy = append(proxy, kv)
		}
	}
	return proxy
}

// bootstrapNames are the names of the packages that debootstrap installs, without what they depend on.
func bootstrapNames(spec Spec, index *archive.Index) []string {
	priorities := []string{"required", "important"}
	if spec.bare() {
		priorities = priorities[:1]
	}
	options, _ := step.DebootstrapOptions(spec.Options().Debootstrapopts)
	include, _ := step.DebootstrapOption(options, "include")
	names := append(index.Names(priorities...), "apt")
	// In place of usrmerge and its dependencies (scripts/debian-common of debootstrap).
	const merged = "usr-is-merged"
	if spec.Codename() == "bookworm" && index.Lookup(merged) != nil {
		names = append(names, merged)
	}
	return append(names, packageNames([]string{include})...)
}

// bootstrapPackages lists the packages that debootstrap installs, as far as the index of the suite tells.
func bootstrapPackages(spec Spec, index *archive.Index) ([]*archive.Package, error) {
	all, err := index.Closure(sortedSet(bootstrapNames(spec, index)), archive.ClosureOptions{Essential: true})
	if err != nil {
		return nil, fmt.Errorf("choose packages of %s for debootstrap: %w", spec.Codename(), err)
	}
	return all, nil
}

// splitBootstrap returns those of the packages that debootstrap installs, and the others.
func splitBootstrap(spec Spec, index *archive.Index, packages []*archive.Package) (base, rest []*archive.Package,
	err error) {
	bootstrap, err := bootstrapPackages(spec, index)
	if err != nil {
		return nil, nil, err
	}
	names := map[string]bool{}
	for _, p := range bootstrap {
		names[p.Name] = true
	}
	for _, p := range packages {
		if names[p.Name] {
			base = append(base, p)
		} else {
			rest = append(rest, p)
		}
	}
	return base, rest, nil
}

// estimate lists the packages that the build will install, as far as the index tells.
func estimate(spec Spec, index *archive.Index) ([]*archive.Package, error) {
	want := bootstrapNames(spec, index)
	want = sortedSet(append(want, relations(spec.Packages(), spec.Options().Arch)...))
	how := archive.ClosureOptions{Essential: true}
	var unresolved *archive.UnresolvedError
	if spec.Options().Recommends {
		// debootstrap leaves recommended packages out.
		base, err := bootstrapPackages(spec, index)
		if err != nil && !errors.As(err, &unresolved) { // what is missing there is missing below
			return nil, err
		}
		how.Recommends, how.Installed = true, base
	}
	all, err := index.Closure(want, how)
	if errors.As(err, &unresolved) && spec.hasEssentialHooks() {
		// These may bring the archive that has them: apt judges, when it has looked there.
		want = slices.DeleteFunc(want, func(name string) bool {
			return slices.ContainsFunc(unresolved.Missing,
				func(m archive.Missing) bool { return m.Relation == name && len(m.WantedBy) == 0 })
		})
		all, err = index.Closure(want, how)
	}
	if errors.As(err, &unresolved) {
		return nil, fmt.Errorf("%schoose packages of %s for %s: %w", askedBy(spec, unresolved), spec.Codename(),
			spec.Options().Arch, err)
	}
	return all, err
}

// askedBy names the options that ask for what an archive has not, as the beginning of an error.
func askedBy(spec Spec, unresolved *archive.UnresolvedError) string {
	o := spec.Options()
	options, _ := step.DebootstrapOptions(o.Debootstrapopts)
	include, _ := step.DebootstrapOption(options, "include")
	text := ""
	for _, by := range []struct {
		flag  string
		names []string
	}{
		{"--package", relations(packageNames(o.Packages), o.Arch)},
		{"--kernel-package", relations([]string{o.KernelPackage}, o.Arch)},
		{"--debootstrapopts", packageNames([]string{include})},
	} {
		if slices.ContainsFunc(unresolved.Missing,
			func(m archive.Missing) bool { return slices.Contains(by.names, m.Relation) }) {
			text += by.flag + ": "
		}
	}
	return text
}

// checkRoom refuses a disk that cannot hold the packages, before they are downloaded. A Debian system takes more than
// its packages say: 137 MB in blocks of 4 KiB for the 126 MB of minbase of trixie, and the initramfs. But the user's
// own programs may remove files, such as a third of that in documentation, and of recommended packages some are chosen
// that debootstrap leaves out: then a third of the estimate is given the benefit of the doubt.
func checkRoom(d *Disk, packages []*archive.Package, uncertain bool) error {
	if d == nil || d.Auto {
		return nil
	}
	content := installedSize(packages)
	needed := content
	if uncertain {
		needed -= needed / 3
	}
	if p, ok := d.Layout.Partition(diskimage.RoleBoot); ok {
		needed -= min(needed, p.Size)
	}
	least, err := filesystem.EstimateSize(d.Root().Filesystem, needed)
	if err != nil {
		return err
	}
	if least <= filesystemSize(d.Root()) {
		return nil
	}
	sized, err := d.resized(least)
	if err != nil {
		return err
	}
	return fmt.Errorf("--size: %s is too small: by an estimate, %d packages of %d MB need a disk of at least %s",
		d.Request.Size, len(packages), content/diskimage.MB, sized.Layout.Size)
}
