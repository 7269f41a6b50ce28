// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// ContainerSource is a Containerfile that makes a root file system of the images that its stages begin with.
type ContainerSource struct {
	name   string
	parsed *containerfile.File
	o      Options
	arch   debian.Arch
	// images are the sources of the images, by the names that FROM has for them.
	images map[string]Source
}

// parseContainerSource reads DIR or DIR:FILE.
func parseContainerSource(text string, w World) (Source, error) {
	dir, file, _ := strings.Cut(text, ":")
	if dir == "" {
		return Source{}, errors.New("containerfile: names no directory")
	}
	name := w.absolute(dir)
	if file != "" {
		name = filepath.Join(name, file)
	}
	name, err := findContainerfile(name, w)
	if err != nil {
		return Source{}, err
	}
	return Source{Transport: transport.Containerfile, Path: name}, nil
}

// IsContainerfile reports whether the source is a Containerfile, see ReadContainerSource.
func (s Source) IsContainerfile() bool { return s.Transport == transport.Containerfile }

// ReadContainerSource reads a Containerfile, with the arguments and secrets of the options. The error joins all
// mistakes that can be known before the images are read, each a *Problem.
func ReadContainerSource(s Source, o Options, w World) (*ContainerSource, error) {
	c := &ContainerSource{name: s.Path, o: o, images: map[string]Source{}}
	name := o.Arch
	if name == "" {
		name = w.HostArch
	}
	c.arch, _ = debian.LookupArch(name)
	if !c.arch.NativeOn(w.HostArch) {
		return nil, &problem.Problem{Flag: "--arch", Err: fmt.Errorf("this machine does not run programs of %s, as RUN "+
			"does: use --containerfile with a build", name)}
	}
	text, err := w.ReadFile(c.name)
	if err == nil {
		c.parsed, err = containerfile.Parse(c.name, text)
	}
	var f evaluatedFile
	if err == nil {
		f, err = evaluate(c.name, c.parsed, o, c.arch, func(image string) (containerfile.Config, error) {
			source, err := imageSource(image, w)
			c.images[image] = source
			return defaultConfig, err
		})
	}
	if err == nil {
		missing, _ := f.missingSecrets(o.BuildSecrets)
		err = errors.Join(missing...)
	}
	var problems []error
	for _, err := range problem.Flatten(err) {
		problems = append(problems, &problem.Problem{Flag: "--from", Err: err})
	}
	return c, errors.Join(problems...)
}

// imageSource returns the source of an image of FROM: one of --from, or a name in a registry.
func imageSource(image string, w World) (Source, error) {
	switch kind, _, _ := strings.Cut(image, ":"); kind {
	case rootfsBase:
		return Source{}, fmt.Errorf("%s is the system of a build: use --containerfile, or FROM an image", image)
	case transport.Containerfile, transport.Dir:
		// The files of a directory have other owners where RUN runs.
		return Source{}, fmt.Errorf("%s: the transport %s is not supported here", image, kind)
	case transport.Disk, transport.Tar, transport.OCI, transport.OCIArchive, transport.DockerArchive, transport.Docker,
		transport.Storage:
		return ParseSource(image, w)
	}
	return ParseSource(transport.Docker+"://"+image, w)
}

// takeContext copies what the instructions name of the directory of the Containerfile.
func (c *ContainerSource) takeContext(ctx context.Context, f evaluatedFile, lock *Lock, dir string,
	downloads *archive.Client) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	lock.Copies, lock.Copied = map[string]string{}, map[string][]step.CopySource{}
	t := taker{dir: dir, lock: lock, downloads: downloads, digests: map[string]string{}, copies: new(int)}
	return t.takeContext(ctx, "--from", f)
}

// ContainerRootfs is the root file system that a Containerfile has made. Close throws it away.
type ContainerRootfs struct {
	Rootfs
	stages *stages
	// image has the time and the platform of the images of shared snapshots.
	image ociimage.Image
}

// Tree returns its files, none of them later than the build itself, as for the root file system of a build.
func (r *ContainerRootfs) Tree() diskimage.Tree {
	return diskimage.Clamp(target.Tree(r.Rootfs, r.Root()), r.image.Created)
}

// Share puts the snapshots of its steps where --cache-to says, as far as they are not there yet.
func (r *ContainerRootfs) Share(ctx context.Context) error {
	last := len(r.stages.chains) - 1
	return r.stages.chains[last].Push(ctx, r.image, r.stages.chains[:last])
}

// Close deletes the working containers.
func (r *ContainerRootfs) Close() error { return errors.Join(r.Rootfs.Close(), r.stages.close()) }

// BuildContainer makes the root file system of a Containerfile, from the longest chain of its steps that a snapshot
// holds. open opens the image of a FROM; the caller closes it after the build.
func (x *Executor) BuildContainer(ctx context.Context, c *ContainerSource, lock Lock,
	open func(context.Context, Source) (*SourceTree, error)) (*ContainerRootfs, error) {
	bases := map[string]diskimage.Tree{}
	base := map[string]step.ContainerBase{}
	warnings := map[string][]string{}
	f, err := evaluate(c.name, c.parsed, c.o, c.arch, func(image string) (containerfile.Config, error) {
		x.Progress.Announce("read " + image)
		opened, err := open(ctx, c.images[image])
		if err != nil {
			return containerfile.Config{}, fmt.Errorf("%s: %w", image, err)
		}
		digest := string(opened.ImageID)
		config := containerfile.Config{Env: opened.Config.Env, User: opened.Config.User, Workdir: opened.Config.WorkingDir}
		if digest == "" {
			config = defaultConfig
			if digest, err = treeDigest(ctx, opened.Tree); err != nil {
				return containerfile.Config{}, fmt.Errorf("%s: %w", image, err)
			}
		}
		if !slices.ContainsFunc(config.Env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
			config.Env = append(config.Env, defaultConfig.Env...)
		}
		bases[digest] = withoutDevices(opened.Tree)
		base[image] = step.ContainerBase{Image: image, Digest: digest}
		warnings[image] = opened.Warnings(image)
		return config, nil
	})
	if err != nil {
		return nil, err
	}
	for _, warning := range append(warnings[f.image(len(f.stages)-1)], f.warnings(c.o.BuildSecrets)...) {
		x.Progress.Warn(warning)
	}
	if err := c.takeContext(ctx, f, &lock, filepath.Join(x.TempDir, "inputs"), x.Archive); err != nil {
		return nil, err
	}
	var plan Plan
	plan.addContainerfile(containerPlan{evaluatedFile: f, lock: lock, secrets: c.o.BuildSecrets,
		base: func(image string) []step.Step {
			if b, ok := base[image]; ok {
				return []step.Step{b}
			}
			return nil // FROM scratch
		}})
	plan.identities = plan.Steps
	for i, s := range plan.Stages {
		plan.Stages[i].identities = s.Steps
	}
	access, err := step.NewAccess(filepath.Join(x.TempDir, "access"),
		step.AccessOptions{CA: x.CA, Hosts: x.Hosts, RealDpkg: true})
	if err != nil {
		return nil, fmt.Errorf("write the settings of apt: %w", err)
	}
	archives := filepath.Join(x.TempDir, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, err
	}
	x.Progress.Plan(plan.titles(plan.Steps))
	site := &step.Context{
		Archives: archives, Access: access, Proxy: proxyEnviron(x.Environ), Tmp: x.TempDir, Resolver: x.Resolver,
		Epoch: lock.epoch(), Seed: lock.Seed, KeepIdentity: true, RealDpkg: true, Log: x.Log, HookOutput: x.HookOutput,
		Out:    step.NewTail(x.Output),
		Stages: map[string]Target{}, Bases: bases, CacheMount: x.cacheMount,
	}
	chain := &snapshot.Chain{}
	if lock.SeedFixed {
		chain.Epoch = lock.Time
	}
	b := &stages{x: x, plan: plan, seed: lock.Seed, site: site, chain: chain,
		snapshots: func() *snapshot.Store { return x.snapshots("", nil, lock) }}
	rootfs, err := b.retry(ctx, PlanStage{Steps: plan.Steps, Own: len(plan.Steps), identities: plan.identities})
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return &ContainerRootfs{rootfs, b, ociimage.Image{Created: lock.Time, Platform: platform(c.arch)}}, nil
}

// treeDigest returns a digest of everything in a tree.
func treeDigest(ctx context.Context, tree diskimage.Tree) (string, error) {
	h := sha256.New()
	if err := tarfile.Write(ctx, h, tree); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
