// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// earlyInitramfs makes the initramfs in the background, in a copy of the target, see step.EarlyInitramfs.
type earlyInitramfs struct {
	x *Executor
	// site and chain are those of the build.
	site  *step.Context
	chain *snapshot.Chain
	// packages are those that the target is expected to have at the end; archives get them.
	packages []*archive.Package
	archives *downloads
	// versions are those of the kernels, and steps those of step.EarlyInitramfs.
	versions []string
	steps    []step.Step

	background sync.WaitGroup
	stop       func()
	// run and err are the result, once background has ended. output is what its programs have printed.
	run    *snapshot.EarlyRun
	err    error
	output bytes.Buffer
}

// start begins with the initramfs if a step is the one during which there is time for it, and the target is as a
// snapshot has it. e is nil if the build has no early initramfs.
func (e *earlyInitramfs) start(ctx context.Context, next step.Step, after []step.Step) {
	install, ok := next.(step.AptInstall)
	if e == nil || !ok || !install.HoldInitramfs || e.stop != nil {
		return
	}
	if e.steps = initramfsSteps(after); e.steps == nil {
		return
	}
	ctx, e.stop = context.WithCancel(ctx)
	copied, err := e.chain.Copy(ctx)
	if err != nil {
		e.x.Log.Debug("copy the target for an early initramfs", "error", err)
		return
	}
	e.background.Go(func() {
		if e.err = e.make(ctx, copied); e.run == nil {
			e.err = errors.Join(e.err, copied.Close())
		}
	})
	e.chain.Early = e.wait
}

// initramfsSteps returns step.Initramfs, after those of the steps before it that write what an initramfs has. It
// returns nil if an early one cannot have all of that.
func initramfsSteps(steps []step.Step) (made []step.Step) {
	for _, s := range steps {
		switch s.(type) {
		case step.Initramfs:
			return append(made, s)
		case step.Fstab, step.Fsck, step.Crypttab:
			made = append(made, s)
		case step.CustomPackages, step.Grow, step.Overlay, step.Verity:
			return nil
		}
	}
	return nil
}

// make makes the initramfs in a copy of the target.
func (e *earlyInitramfs) make(ctx context.Context, copied Rootfs) error {
	if err := e.archives.all.arrived(ctx); err != nil {
		return err
	}
	if err := e.archives.waitForIndexes(ctx); err != nil {
		return err
	}
	missing, err := notInstalled(copied, e.packages)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(missing, func(p *archive.Package) bool { return p.Name == "udev" }) {
		return errors.New("udev is not configured yet") // its postinst and those of systemd change too much
	}
	debs, err := e.x.cachedFiles(ctx, missing)
	if err != nil {
		return err
	}
	options := debfile.Options{Exclude: debfile.Documentation(), SkipOwners: copied.OwnerXattrs(), Workers: 1}
	if err := debfile.Unpack(ctx, debs, copied.Root(), options); err != nil {
		return err
	}
	site := *e.site
	site.Target, site.Out, site.HookOutput = copied, step.NewTail(&e.output), nil
	site.Outputs = earlyOutputs{e, copied}
	if err := step.EarlyInitramfs(ctx, &site, e.versions, e.steps); err != nil {
		return fmt.Errorf("%w: %s", err, site.Out)
	}
	if e.run == nil {
		return errors.New("it depends on more than files")
	}
	return nil
}

// earlyOutputs observes the program that makes the initramfs in a copy of the target.
type earlyOutputs struct {
	early  *earlyInitramfs
	copied Rootfs
}

// Make implements step.OutputCache.
func (o earlyOutputs) Make(_ context.Context, _ Target, of step.Output, run func() error) (err error) {
	o.early.run, err = o.early.chain.RunEarly(o.copied, snapshot.Outputs(of), run)
	return err
}

// wait waits for the initramfs. It is of no use if the target has other packages than expected.
func (e *earlyInitramfs) wait(context.Context) (*snapshot.EarlyRun, error) {
	installed, err := readDpkgStatus(e.site.Target)
	if err != nil {
		return nil, err
	}
	if differing := differingPackages(e.packages, installed); len(differing) > 0 {
		e.stop()
		return nil, fmt.Errorf("other packages were expected, see %s", strings.Join(differing, ", "))
	}
	e.background.Wait()
	if e.err != nil {
		return nil, e.err
	}
	_, err = e.output.WriteTo(e.site.Out)
	return e.run, err
}

// differingPackages names the packages that are expected or installed, and not both, in that version.
func differingPackages(expected []*archive.Package, installed []archive.Stanza) []string {
	differing := map[string]bool{}
	for _, p := range expected {
		differing[p.Name+" "+p.Version] = true
	}
	for _, p := range installed {
		name := p.Get("Package") + " " + p.Get("Version")
		if differing[name] {
			delete(differing, name)
		} else {
			differing[name] = true
		}
	}
	return slices.Sorted(maps.Keys(differing))
}

// Close ends the work, and deletes the copy.
func (e *earlyInitramfs) Close() error {
	if e == nil || e.stop == nil {
		return nil
	}
	e.stop()
	e.background.Wait()
	return e.run.Close()
}
