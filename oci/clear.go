// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
)

// ErrInUse reports that an Engine or a Pull of another process uses a directory.
var ErrInUse = errors.New("another build uses it")

// removedMark is in the names of files that are being removed, followed by random text. The next
// Clear or Open removes what a killed process left.
const removedMark = ".removed-"

// Clear removes a StateDir with its contents, and other directories of builds with it. It reads
// nothing that could be damaged, and needs no free space on the disk. Files of several IDs can only
// be removed inside, see Place. The error wraps ErrInUse if an Engine has stateDir open or a Pull
// uses one of the others; then nothing is removed.
func Clear(ctx context.Context, stateDir string, others ...string) error {
	dirs := append([]string{stateDir}, others...)
	if err := clearDirs(ctx, dirs); err != nil {
		return fmt.Errorf("clear %s: %w", filepath.Dir(stateDir), err)
	}
	return nil
}

func clearDirs(ctx context.Context, dirs []string) error {
	aside, err := moveAllAside(dirs)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		left, err := movedAside(dir)
		if err != nil {
			return err
		}
		aside = append(aside, left...)
	}
	slices.Sort(aside)
	var errs []error
	for _, name := range slices.Compact(aside) {
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, os.RemoveAll(name))
	}
	return errors.Join(errs...)
}

// moveAllAside renames directories, unless an Engine has the first one open, so that the next build
// does not find them half removed. A directory that cannot be renamed because it is a mount point
// is emptied while other processes wait for the lock.
func moveAllAside(dirs []string) (aside []string, err error) {
	if info, err := os.Stat(dirs[0]); err == nil && info.IsDir() {
		all, err := lockSessions(dirs[0])
		if err != nil {
			return nil, err
		}
		defer all.Close() // only a lock: nothing was written
		alive, err := liveSessions(dirs[0])
		if err != nil {
			return nil, err
		}
		if len(alive) > 0 {
			return nil, ErrInUse
		}
	}
	for _, dir := range dirs[1:] {
		entries, _ := os.ReadDir(dir) // if it cannot be read, it is not a directory in use
		for _, d := range entries {
			if strings.HasPrefix(d.Name(), registry.PullPrefix) && dirfd.Locked(filepath.Join(dir, d.Name())) {
				return nil, ErrInUse
			}
		}
	}
	for _, dir := range dirs {
		// The name may be a link to a larger disk.
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return aside, err
		}
		name, err := moveAside(real)
		if err != nil {
			if err := removeEntries(real); err != nil {
				return aside, err
			}
			continue
		}
		aside = append(aside, name)
	}
	return aside, nil
}

// moveAside renames a file within its directory and returns the new name.
func moveAside(name string) (string, error) {
	aside := name + removedMark + rand.Text()
	return aside, os.Rename(name, aside)
}

// removeEntries removes the contents of a directory.
func removeEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, d.Name())))
	}
	return errors.Join(errs...)
}

// movedAside lists what moveAside made of a file of that name and nobody removed yet.
func movedAside(name string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), filepath.Base(name)+removedMark) {
			names = append(names, filepath.Join(filepath.Dir(name), d.Name()))
		}
	}
	return names, err
}
