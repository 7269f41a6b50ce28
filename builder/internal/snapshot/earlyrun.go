// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// EarlyRun is a run of a program in a copy of the target, while the target was being completed. The target gets its
// outputs under the same condition as those of an earlier build: that every input is the same in both.
type EarlyRun struct {
	copied   target.Rootfs
	made     cachedRun
	contents [][]byte
}

// Close deletes the copy. The result of a run that failed is nil, which has nothing to close.
func (e *EarlyRun) Close() error {
	if e == nil {
		return nil
	}
	return e.copied.Close()
}

// errNoSnapshot says that the target is not the same as a snapshot.
var errNoSnapshot = errors.New("the last step has left no snapshot")

// Copy returns another root file system with the files of the target, as the snapshot of the last step has them.
func (c *Chain) Copy(ctx context.Context) (target.Rootfs, error) {
	if c.ended || len(c.entries) == 0 || !c.entries[len(c.entries)-1].kept {
		return nil, errNoSnapshot
	}
	return c.store.Engine.From(ctx, c.last)
}

// RunEarly calls run to make the outputs of a program in copied, which the result closes. It can be called while other
// steps run in the target.
func (c *Chain) RunEarly(copied target.Rootfs, of Outputs, run func() error) (*EarlyRun, error) {
	a := outputCache{&Chain{store: c.store, target: copied, IDs: c.IDs, Epoch: c.Epoch}, of}
	made, contents, err := a.observe(run)
	if err != nil {
		return nil, err
	}
	return &EarlyRun{copied: copied, made: made, contents: contents}, nil
}

// useEarly waits for the early run, and uses it. why is the reason not to.
func (a outputCache) useEarly(ctx context.Context, name string) (why string, err error) {
	wait := a.Early
	a.Early = nil
	early, err := wait(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return err.Error(), nil
	}
	if why, err = a.takeEarly(ctx, name, early); err == nil && why == "" {
		a.store.report("run early: " + a.of.Title + ": its inputs have not changed since")
	}
	return why, err
}

// takeEarly writes the outputs of an early run to the target, if its inputs are the same there, and keeps them as those
// of a run in the target. why is the reason not to.
func (a outputCache) takeEarly(ctx context.Context, name string, early *EarlyRun) (why string, err error) {
	changed, err := a.reader(early.made).changes(early.made.Inputs)
	if err != nil {
		return "", err
	}
	var unexpected []string
	for _, input := range changed {
		differing, err := differences(early.copied, a.target, input)
		if err != nil {
			return "", err
		}
		unexpected = append(unexpected, slices.DeleteFunc(differing, a.of.Ignored)...)
	}
	if len(unexpected) > 0 {
		a.store.Log.Debug("inputs differ since the early run", "step", a.of.Title, "names", unexpected)
		return firstNames(unexpected) + " changed since", nil
	}
	made := early.made
	for i, output := range made.Outputs {
		if err := a.target.WriteFile(output.Name, early.contents[i], output.Mode); err != nil {
			return "", err
		}
	}
	if made.Inputs, err = a.reader(made).read(slices.Sorted(maps.Keys(early.made.Inputs))); err != nil {
		return "", err
	}
	return "", a.notKept(ctx, a.keep(ctx, name, made, early.contents))
}

// differences names what of an input differs between two root file systems: the entries of a directory, or name itself.
func differences(a, b target.Files, name string) ([]string, error) {
	var entries [2]map[string]string
	for i, f := range []target.Files{a, b} {
		info, err := f.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !info.IsDir() {
			return []string{name}, nil
		}
		if entries[i], err = entriesOf(f, name); err != nil {
			return nil, err
		}
	}
	var all []string
	for entry, text := range entries[0] {
		if entries[1][entry] != text {
			all = append(all, path.Join(name, entry))
		}
	}
	for entry := range entries[1] {
		if _, both := entries[0][entry]; !both {
			all = append(all, path.Join(name, entry))
		}
	}
	slices.Sort(all)
	return all, nil
}

// entriesOf describes the entries of a directory, by name.
func entriesOf(f target.Files, dir string) (map[string]string, error) {
	entries, err := f.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, e := range entries {
		if texts[e.Name()], err = entryText(f, dir, e); err != nil {
			return nil, fmt.Errorf("compare %s: %w", dir, err)
		}
	}
	return texts, nil
}
