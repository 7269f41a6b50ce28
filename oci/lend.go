package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loan is a copy of a directory of the host, for a run that may change it.
type loan struct {
	source string
	// before is what was copied, by name relative to source.
	before map[string]lentFile
}

// lentFile is what tells a changed file from one that is as it was.
type lentFile struct {
	mode  fs.FileMode
	size  int64
	time  time.Time
	inode uint64
}

// linkFrom is the size from which a file is linked and not copied, if it is on the same file system: an image, say. What
// is written to it is in the host's file at once, as with a mount.
const linkFrom = 16 << 20

// lend copies a directory, but for keep and what is in it, unless it is there itself.
func lend(dst, source, keep string) (*loan, error) {
	l := &loan{source: source, before: map[string]lentFile{}}
	err := filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name != source {
			return nil // somebody has removed it meanwhile
		}
		if err != nil {
			return err
		}
		if within(name, keep) && !within(source, keep) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		to := dst + name[len(source):]
		if err := copyEntry(to, name, info); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		made, err := os.Lstat(to)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a socket
		}
		if err != nil {
			return err
		}
		l.before[name[len(source):]] = stateOf(made)
		return nil
	})
	return l, err
}

// stateOf is the state of a file. That of a directory does not tell of its content. A link cannot be changed, but another
// one may get its inode.
func stateOf(info fs.FileInfo) lentFile {
	state := lentFile{mode: info.Mode()}
	if !info.IsDir() {
		state.inode = info.Sys().(*syscall.Stat_t).Ino
		state.size, state.time = info.Size(), info.ModTime()
	}
	return state
}

// copyEntry makes to what a file, directory, symbolic link or named pipe is. Sockets, which would be dead, and devices
// are left out.
func copyEntry(to, from string, info fs.FileInfo) error {
	st := info.Sys().(*syscall.Stat_t)
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case fs.ModeSymlink:
		text, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return errors.Join(os.Symlink(text, to), os.Lchown(to, int(st.Uid), int(st.Gid)))
	case fs.ModeNamedPipe:
		if err := unix.Mkfifo(to, 0o600); err != nil {
			return err
		}
	case 0:
		if info.Size() < linkFrom || linkFile(to, from) != nil {
			return copyFile(to, from, info)
		}
		return nil
	default:
		return nil
	}
	return errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), os.Chmod(to, info.Mode()))
}

// linkFile makes a link to a file. It is opened, too, as the others are: whoever watches the directory sees that it may
// have been read.
func linkFile(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Link(from, to))
}

// bringBack does to the lent directory what was done to its copy.
func (l *loan) bringBack(dir string) error {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rest := name[len(dir):]
		was, known := l.before[rest]
		delete(l.before, rest)
		if known && was == stateOf(info) {
			return nil
		}
		if err := replace(l.source+rest, name, info); err != nil {
			return fmt.Errorf("bring %s back to %s: %w", filepath.Base(name), l.source, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// What is left in the list is gone in the copy. Names sort before those of what is in them.
	gone := make([]string, 0, len(l.before))
	for name := range l.before {
		gone = append(gone, name)
	}
	slices.SortFunc(gone, func(a, b string) int { return strings.Compare(b, a) })
	for _, name := range gone {
		err := os.Remove(l.source + name)
		// It may be gone with its directory, which is a file now; or a directory with what was not copied.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// replace makes to what from is, in one step where it is a file.
func replace(to, from string, info fs.FileInfo) error {
	there, err := os.Lstat(to)
	if err == nil && os.SameFile(there, info) {
		return nil // a link: it has changed with its copy
	}
	if info.IsDir() {
		if err == nil && !there.IsDir() {
			if err := os.Remove(to); err != nil {
				return err
			}
		}
		return copyEntry(to, from, info)
	}
	temp := filepath.Join(filepath.Dir(to), tempName(filepath.Base(to)))
	if err := copyEntry(temp, from, info); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	err = os.Rename(temp, to)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a socket: nothing was made
		return nil
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		// A directory became a file; what was in it is gone in the copy.
		return errors.Join(os.RemoveAll(to), os.Rename(temp, to))
	case err != nil:
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
