// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An unfinished file that needs a name is called .NAME.vmdebootstrap-RANDOM: hidden, and never the
// name of a user's own file. Its writer holds a lock on it (flock(2)), so that the leftovers of
// killed builds can be recognised.
const (
	partialMark   = ".vmdebootstrap-"
	partialRandom = 26 // characters of rand.Text, in base32
	maxName       = 255
)

// partialPrefix returns the start of the names of unfinished files that will be called base.
func partialPrefix(base string) string {
	return "." + base[:min(len(base), maxName-1-len(partialMark)-partialRandom)] + partialMark
}

// partialName returns a name for an unfinished file that will be called target.
func partialName(target string) string {
	return filepath.Join(filepath.Dir(target), partialPrefix(filepath.Base(target))+rand.Text())
}

// isPartial reports whether partialName may have returned a name.
func isPartial(name, base string) bool {
	random, ok := strings.CutPrefix(name, partialPrefix(base))
	return ok && len(random) == partialRandom && strings.Trim(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// IsUnfinished reports whether a name is that of an unfinished file of this package, whatever it will be called.
func IsUnfinished(name string) bool {
	base := filepath.Base(name)
	mark := len(base) - partialRandom - len(partialMark)
	return mark > 1 && isPartial(base, base[1:mark])
}

// createPartial creates an unfinished file, and removes those of killed builds.
func createPartial(target string, mode fs.FileMode) (*os.File, error) {
	if err := removePartials(target); err != nil {
		return nil, err
	}
	for {
		file, err := os.OpenFile(partialName(target), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(describeOp("lock", file.Name(), err), file.Close(), os.Remove(file.Name()))
		}
		if isNamed(file) {
			return file, nil
		}
		// Another process removed it as a leftover before it was locked.
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// isNamed reports whether an open file still has its name.
func isNamed(file *os.File) bool {
	named, err := os.Lstat(file.Name())
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(named, opened)
}

// removePartials removes the unfinished files of a target that no process writes any more.
func removePartials(target string) error {
	dir := filepath.Dir(target)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isPartial(e.Name(), filepath.Base(target)) {
			continue
		}
		// Files of other users, and files that are gone by now, are left alone.
		file, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && isNamed(file) {
			err = os.Remove(file.Name())
		}
		if err := errors.Join(err, file.Close()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
