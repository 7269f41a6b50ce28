// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// toolboxPackages are the programs and files that a build needs beside those of the target.
var toolboxPackages = []string{
	"debootstrap", "gpgv", "wget", "ca-certificates", "debian-archive-keyring", "xz-utils", "zstd", "mount",
}

// pcToolboxPackages are there only for PCs.
var pcToolboxPackages = []string{"extlinux", "syslinux-common"}

// toolboxFormat changes when the same packages would give another toolbox. Those of format 2 may have come
// from elsewhere.
const toolboxFormat = "4"

// toolboxContent is what a toolbox is made of.
type toolboxContent struct {
	packages []*archive.Package
	emulator emulatorParts
	// name is that of its snapshot, with the digest of the packages' digests.
	name string
}

// toolboxContent chooses the packages of the toolbox.
func (s Spec) toolboxContent(src Sources) (t toolboxContent, err error) {
	want := append([]string{}, toolboxPackages...)
	for _, name := range pcToolboxPackages {
		if src.Toolbox.Lookup(name) != nil {
			want = append(want, name)
		}
	}
	want = append(want, s.mkfsPackages()...)
	if s.Options().Squash != "" {
		want = append(want, filesystem.SquashTools)
	}
	t.emulator = toolboxEmulator(s, src.Toolbox)
	want = append(want, t.emulator.packages...)
	if t.packages, err = src.Toolbox.Closure(want, archive.ClosureOptions{Essential: true}); err != nil {
		return t, err
	}
	// Debootstrap prefers perl to the pkgdetails that the step binds there. Nothing else in the toolbox asks for it.
	t.packages = slices.DeleteFunc(t.packages, func(p *archive.Package) bool { return p.Name == "perl-base" })
	h := sha256.New()
	fmt.Fprintln(h, toolboxFormat)
	for _, p := range t.packages {
		fmt.Fprintln(h, p.SHA256)
	}
	for _, p := range t.emulator.programs {
		fmt.Fprintln(h, p)
	}
	t.name = fmt.Sprintf(snapshot.NamePrefix+"toolbox:%s-%x", src.ToolboxSuite, h.Sum(nil)[:12])
	return t, nil
}

// toolbox returns a container of the toolbox. The image is made of Debian packages, without running any
// program, and kept in the store under the digest of the packages' digests. It never comes from another
// machine: the programs in it make all that the digests of steps promise, and to make it takes seconds. It is no result
// of a step, so that --no-cache takes the one that is there: From compares it with what was written.
func (x *Executor) toolbox(ctx context.Context, spec Spec, src Sources) (_ Rootfs, err error) {
	t, err := spec.toolboxContent(src)
	if err != nil {
		return nil, err
	}
	name := t.name
	c, err := x.Engine.From(ctx, name)
	if err == nil {
		x.Progress.Cached(makeToolbox)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	x.Progress.Begin(makeToolbox)
	unlock, waited, err := x.Engine.Lock(ctx, name,
		func() {
			x.Progress.Message("wait for another build, which makes the toolbox")
			x.Progress.Say("wait", "another build makes the toolbox")
		})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if waited {
		if c, err := x.Engine.From(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	x.Progress.Message(fmt.Sprintf("make the toolbox of %d packages of %s", len(t.packages), src.ToolboxSuite))
	if err := x.makeToolbox(ctx, name, t.packages, t.emulator); err != nil {
		return nil, err
	}
	return x.Engine.From(ctx, name)
}

// makeToolbox unpacks the packages into a new container and keeps that under the name.
func (x *Executor) makeToolbox(ctx context.Context, name string, packages []*archive.Package,
	emulator emulatorParts) (err error) {
	if err := fetch(ctx, x.Archive, packages, x.Progress, showDownload(x.Progress)); err != nil {
		return err
	}
	c, err := x.Engine.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	debs := make([]string, len(packages))
	for i, p := range packages {
		debs[i] = x.Archive.Cache.Path(p.SHA256)
	}
	// Every toolbox has a merged /usr, older releases' too: their packages' programs do not care. Nor does
	// anybody ask whose they are, and there may be one user only.
	options := debfile.Options{Exclude: debfile.Documentation(), MergedUsr: true, SkipOwners: true,
		Unpacked: func(n int) { x.Progress.Advance("unpack", int64(n), int64(len(debs)), progress.Packages) }}
	if err := debfile.Unpack(ctx, debs, c.Root(), options); err != nil {
		return err
	}
	if err := debfile.Configure(c.Root()); err != nil {
		return err
	}
	if err := emulator.removeOthers(c); err != nil {
		return err
	}
	return c.Snapshot(ctx, name, nil)
}
