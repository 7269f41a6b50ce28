package builder

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Executor carries plans out. All that it needs of the outside world is in its fields.
type Executor struct {
	Engine  Engine
	Archive *archive.Client
	// TempDir is an empty directory for files of this build; the caller removes it.
	TempDir string
	// Environ and Dir are the caller's environment and working directory, which hooks see.
	Environ []string
	Dir     string
	// Resolver is the content of the host's resolv.conf, which containers get and the image must not keep.
	Resolver []byte
	Cache    Cache
	Log      *slog.Logger
	// Output receives what the programs of the build print; nil drops it.
	Output io.Writer
	// Say tells a user what begins: "bootstrap trixie for amd64".
	Say func(text string)

	// refused are places of --cache-from of which there was a warning; they are left alone.
	refused map[Remote]bool
	// told are texts of which there was word once.
	told map[string]bool
	// environs are hashes of environments that were made already.
	environs map[string]string
	contents contents // of files that hooks have opened
	// toolboxName is the name of the toolbox's snapshot, which tells what is in it.
	toolboxName string
	// scripts are the real names of the build's hooks.
	scripts map[string]bool
}

// Result is what a build has made. Close throws it away.
type Result struct {
	// Plan is what was done and how the disk is laid out.
	Plan    Plan
	Rootfs  Rootfs
	Toolbox Rootfs
	x       *Executor
	site    *step.Context
	kept    kept
	outputs *artefacts
	spec    Spec
	lock    Lock
}

// Close deletes the working containers; the toolbox stays in the store.
func (r *Result) Close() error {
	var errs []error
	for _, c := range []Rootfs{r.Rootfs, r.Toolbox} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Build makes the root file system, from the longest chain of its steps that a snapshot holds on.
func (x *Executor) Build(ctx context.Context, spec Spec, lock Lock, src Sources) (result *Result, err error) {
	packages, err := estimate(spec, src.Target)
	if err != nil {
		return nil, err
	}
	tools, err := spec.toolboxContent(src)
	if err != nil {
		return nil, fmt.Errorf("make the toolbox: %w", err)
	}
	x.toolboxName, x.scripts = tools.name, spec.hookScripts()
	if x.Cache.Records != "" {
		x.contents.index, x.contents.now = filepath.Join(x.Cache.Records, "contents.json"), x.Cache.Now
	}
	begin, rootfs, err := x.begin(ctx, spec, lock)
	if err != nil {
		return nil, err
	}
	plan := begin.plan
	result = &Result{x: x, Plan: plan, Rootfs: rootfs, spec: spec, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, result.Close())
			result = nil
		}
	}()
	if err := checkRoom(plan.Disk, packages); err != nil {
		return result, err
	}
	if result.Toolbox, err = x.toolbox(ctx, spec, src); err != nil {
		return result, fmt.Errorf("make the toolbox: %w", err)
	}
	if spec.NeedsEmulation() {
		if err := x.emulate(ctx, spec, src, result.Toolbox); err != nil {
			return result, err
		}
	}
	archives, err := newDownloads(filepath.Join(x.TempDir, "archives"))
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, archives.Close()) }()
	keyring := lock.Copy(spec.Trust().Keyring)
	if keyring == "" && !spec.Trust().NoCheck {
		keyring = filepath.Join(x.TempDir, "keyring.gpg")
		if err := writeKeyring(keyring, src.Release); err != nil {
			return result, fmt.Errorf("write the keyring for debootstrap: %w", err)
		}
	}
	remaining := plan.Steps[len(begin.links):]
	if slices.ContainsFunc(remaining, step.Step.Installs) {
		if packages, err = notInstalled(result.Rootfs, packages); err != nil {
			return result, err
		}
		x.Say(fmt.Sprintf("get %d packages", len(packages)))
		if err := archives.fill(ctx, x.Archive, packages); err != nil {
			return result, err
		}
	}
	result.outputs = x.artefacts(plan, lock, begin.origins)
	result.site = &step.Context{
		Target: result.Rootfs, Toolbox: result.Toolbox, Archives: archives.dir, Keyring: keyring,
		FreshToolbox: func(ctx context.Context) (Rootfs, error) { return x.Engine.From(ctx, x.toolboxName) },
		Proxy:        proxyEnviron(x.Environ), Environ: x.Environ, Dir: x.Dir, Tmp: x.TempDir, Resolver: x.Resolver,
		Log: x.Log, Out: step.NewTail(x.Output, spec.o.Mirror, spec.o.AptMirror), Epoch: lock.epoch(), Seed: begin.seed,
		Outputs: result.outputs,
	}
	identity, err := x.identityPlan(spec, lock)
	if err != nil {
		return result, err
	}
	if result.kept, err = x.runSteps(ctx, remaining, identity.Steps[len(begin.links):], begin, result.site, result.outputs); err != nil {
		return result, err
	}
	if err := x.contents.save(ctx); err != nil {
		x.Log.Info("digests of files are not noted", slog.Any("because", err))
	}
	return result, archives.keepNew(ctx, x.Archive.Cache)
}

// artefacts are those of builds like this one.
func (x *Executor) artefacts(plan Plan, lock Lock, o origins) *artefacts {
	a := artefacts{x: x, origins: o}
	if lock.SeedFixed {
		a.epoch = lock.Time
	}
	if plan.Disk != nil {
		a.ids = plan.Disk.ids()
	}
	return &a
}

// begin finds where to begin, and gives the root file system that the first step to run works on.
func (x *Executor) begin(ctx context.Context, spec Spec, lock Lock) (start, Rootfs, error) {
	for {
		s, err := x.findStart(ctx, spec, lock)
		if err != nil {
			return start{}, nil, fmt.Errorf("look for snapshots: %w", err)
		}
		if s.shared != nil {
			var err error
			s.snapshot, s.origins, err = x.getSteps(ctx, s)
			switch {
			case ctx.Err() != nil:
				return start{}, nil, err
			case errors.Is(err, errBaseGone):
				continue
			case err != nil:
				x.refuse(*s.shared, err)
				continue
			}
		}
		var rootfs Rootfs
		if s.snapshot == "" {
			rootfs, err = x.Engine.Scratch(ctx)
		} else if rootfs, err = x.Engine.From(ctx, s.snapshot); errors.Is(err, fs.ErrNotExist) {
			continue // somebody has removed it, or it was found to be damaged, and is gone now
		}
		if err != nil {
			return start{}, nil, err
		}
		if err := x.explain(ctx, spec, lock, s); err != nil {
			return start{}, nil, errors.Join(err, rootfs.Close())
		}
		if s.snapshot != "" {
			x.Say("go on after: " + s.links[len(s.links)-1].Title)
		}
		return s, rootfs, nil
	}
}

// kept says what the snapshots of a build hold.
type kept struct {
	links  []link
	layers []string
	seed   uuid.UUID
}

// runSteps runs steps, and keeps the results of the dear ones under the digests of the identities, which are the same
// steps without random IDs.
func (x *Executor) runSteps(ctx context.Context, steps, identities []step.Step, begin start, s *step.Context, outputs *artefacts) (kept, error) {
	all := kept{slices.Clone(begin.links), slices.Clone(begin.layers), begin.seed}
	links, before := all.links, firstDigest(x.Cache.Program)
	if len(links) > 0 {
		before = links[len(links)-1].Digest
	}
	keep := true
	for i, step := range steps {
		if !keep { // nor is anything kept that comes after it
			if err := x.runStep(ctx, step, s); err != nil {
				return all, err
			}
			continue
		}
		l, unkept, err := x.runLink(ctx, step, identities[i], before, s)
		if err != nil {
			return all, err
		}
		if unkept != nil {
			x.notKept(step, unkept)
			keep = false
			continue
		}
		links, before = append(links, l), l.Digest
		if !step.Kept() {
			continue
		}
		all.links, all.layers = links, append(all.layers, rand.Text())
		if err := x.keep(ctx, s.Target, all.links, all.layers, begin.seed, outputs.origins); err != nil {
			return all, err
		}
	}
	return all, nil
}

// runLink runs a step and gives its link behind the digest of what came before it. identity is the step without random IDs.
// unkept says why the result must not be kept.
func (x *Executor) runLink(ctx context.Context, step, identity step.Step, before Digest, s *step.Context) (l link, unkept, err error) {
	v, unkept := x.look(step, nil)
	if v == nil || unkept != nil {
		if err := x.runStep(ctx, step, s); err != nil || unkept != nil {
			return l, unkept, err
		}
		l, err = newLink(before, identity, nil)
		return l, nil, err
	}
	if l, err = newLink(before, identity, v); err != nil {
		return l, nil, err
	}
	x.recordView(v)
	if len(v.Lent) == 0 {
		return l, nil, x.runStep(ctx, step, s)
	}
	seen, unkept, err := x.runObserved(ctx, step, v, s)
	if err != nil || unkept != nil {
		return l, unkept, err
	}
	return l, nil, l.observe(seen)
}

// notInstalled leaves out what the root file system has already.
func notInstalled(target Target, packages []*archive.Package) ([]*archive.Package, error) {
	text, err := target.ReadFile("/var/lib/dpkg/status")
	if errors.Is(err, fs.ErrNotExist) {
		return packages, nil
	}
	if err != nil {
		return nil, err
	}
	stanzas, err := archive.ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read /var/lib/dpkg/status: %w", err)
	}
	installed := map[string]string{}
	for _, p := range stanzas {
		installed[p.Get("Package")] = p.Get("Version")
	}
	return slices.DeleteFunc(slices.Clone(packages), func(p *archive.Package) bool { return installed[p.Name] == p.Version }), nil
}

func (x *Executor) runStep(ctx context.Context, setup step.Step, s *step.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.Say(setup.Title())
	s.Out.Reset()
	if err := setup.Run(ctx, s); err != nil {
		return &step.Error{Step: setup, Output: s.Out.String(), Err: err}
	}
	return nil
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

// estimate lists the packages that the build will install, as far as the index tells.
func estimate(spec Spec, index *archive.Index) ([]*archive.Package, error) {
	priorities := []string{"required", "important"}
	if spec.bare() {
		priorities = priorities[:1]
	}
	options, _ := step.DebootstrapOptions(spec.Options().Debootstrapopts)
	include, _ := step.DebootstrapOption(options, "include")
	want := append(index.Names(priorities...), "apt")
	want = append(want, packageNames([]string{include})...)
	packages := spec.Packages()
	// debootstrap leaves recommended packages out, so that those of the base system are too many here.
	all, err := index.Closure(sortedSet(append(want, packages...)), archive.ClosureOptions{Essential: true, Recommends: spec.Options().Recommends})
	var unresolved *archive.UnresolvedError
	if errors.As(err, &unresolved) {
		return nil, fmt.Errorf("%schoose packages of %s for %s: %w", askedBy(spec, unresolved), spec.Codename(), spec.Options().Arch, err)
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
		{"--package", packageNames(o.Packages)}, {"--kernel-package", []string{o.KernelPackage}}, {"--debootstrapopts", packageNames([]string{include})},
	} {
		if slices.ContainsFunc(unresolved.Missing, func(m archive.Missing) bool { return slices.Contains(by.names, m.Relation) }) {
			text += by.flag + ": "
		}
	}
	return text
}

// checkRoom refuses a disk that cannot hold the packages, before they are downloaded. What a package says of its own size
// is measured where it was built and can be too much, so a fifth of it is given the benefit of the doubt; the file
// system's own check is exact.
func checkRoom(d *Disk, packages []*archive.Package) error {
	if d == nil || d.Auto {
		return nil
	}
	var needed, available diskimage.Size
	for _, p := range packages {
		needed += diskimage.Size(p.InstalledSize) * diskimage.KiB
	}
	for _, p := range d.Layout.Partitions {
		if p.Role == diskimage.RoleRoot || p.Role == diskimage.RoleBoot {
			available += p.Size
		}
	}
	if needed/5*4 > available {
		return fmt.Errorf("--size: the packages take about %d MB, the partitions for them have %d MB",
			needed/diskimage.MB, available/diskimage.MB)
	}
	return nil
}
