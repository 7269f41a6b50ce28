package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"
)

// completeCopy copies what the driver vfs leaves out when it makes a new layer as a copy of its parent, by way of a tar archive
// (containers/storage, pkg/archive): extended attributes other than user.* and capabilities, access control lists among
// them, and times before 1970. Other drivers do not copy.
func (e *Engine) completeCopy(layer *storage.Layer) (err error) {
	if layer.Parent == "" || e.Driver() != driverVFS {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy layer %s: %w", layer.Parent, err)
		}
	}()
	from, err := e.driver.Get(layer.Parent, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.driver.Put(layer.Parent)) }()
	dir, err := e.driver.Get(layer.ID, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.driver.Put(layer.ID)) }()
	type timed struct {
		name  string
		times [2]unix.Timespec
	}
	var dirs []timed
	err = filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := dir + strings.TrimPrefix(name, from)
		var was, is unix.Stat_t
		if err := errors.Join(unix.Lstat(name, &was), unix.Lstat(to, &is)); errors.Is(err, fs.ErrNotExist) {
			return nil // a socket, which no archive holds
		} else if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		if d.Type() != fs.ModeSymlink {
			if err := copyAttributes(to, name); err != nil {
				return fmt.Errorf("copy the attributes of %s: %w", name, err)
			}
		}
		times := [2]unix.Timespec{was.Atim, was.Mtim}
		switch {
		case d.IsDir():
			dirs = append(dirs, timed{to, times})
		case was.Mtim != is.Mtim:
			return setTimes(to, times)
		}
		return nil
	})
	for _, d := range dirs {
		err = errors.Join(err, setTimes(d.name, d.times))
	}
	return err
}

func setTimes(name string, times [2]unix.Timespec) error {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}

// copyAttributes gives a file all extended attributes of another.
func copyAttributes(to, from string) error {
	list := make([]byte, unix.PathMax)
	n, err := unix.Llistxattr(from, list)
	for errors.Is(err, unix.ERANGE) {
		list = make([]byte, 2*len(list))
		n, err = unix.Llistxattr(from, list)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list[:n], []byte{0}), []byte{0}) {
		// Of security.* capabilities are there already, and labels are the host's affair.
		if len(name) == 0 || bytes.HasPrefix(name, []byte("security.")) {
			continue
		}
		if err := copyAttribute(to, from, string(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func copyAttribute(to, from, name string) error {
	// Larger than any that a file system of Linux holds.
	value := make([]byte, 1<<16)
	n, err := unix.Lgetxattr(from, name, value)
	if err != nil {
		return err
	}
	value = value[:n]
	there := make([]byte, n+1)
	if m, err := unix.Lgetxattr(to, name, there); err == nil && bytes.Equal(there[:m], value) {
		return nil
	}
	return unix.Lsetxattr(to, name, value, 0)
}
