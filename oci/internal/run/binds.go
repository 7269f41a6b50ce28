// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
)

// Binds puts things where mounts would be, for the time of one run in which nothing can be mounted:
//
//	a directory of this session, or another container's root   is moved there, and back
//	any other directory                                        is copied there, and what has changed is brought back
//	a file                                                     is copied there
//	a device                                                   is made there, by mknod(2)
//	tmpfs                                                      is a directory, with a copy of what it covers if asked for
//	proc, sys, devpts                                          is an empty directory
//
// What a mount would cover waits in another directory. Before the run nothing runs in the root file system,
// so names that were found in it are true. After it they need not be: the program may have put links there.
// So each place is a directory that is open since before the run, and a name in it.
type Binds struct {
	Root string // of the container
	// Covered is a directory of the same file system for what is covered. It is made when it is needed.
	Covered string
	// Movable reports whether a directory may be moved.
	Movable func(dir string) bool
	// Keep is a directory that is never copied: the store itself, which may lie in a directory that is shared.
	Keep string

	top    *os.File // root, open
	placed []placement
}

// placement is one thing in place of a mount.
type placement struct {
	dirfd.Entry
	name    string        // where it was put, on the host
	covered string        // where what was there waits; empty if there was nothing
	made    []dirfd.Entry // the directories that were made to hold it, the topmost first, to be removed again
	open    []*os.File    // to be closed
	stays   bool          // an empty directory remains
	moved   *os.File      // the directory that was moved there; nil if it was made
	source  dirfd.Entry   // where from
	shared  *sharedDir    // where it has been copied from; nil if that does not matter
}

// Add puts one mount in its place.
func (p *Binds) Add(m specs.Mount) error {
	name, err := securejoin.SecureJoin(p.Root, m.Destination)
	if err != nil {
		return err
	}
	if p.top == nil {
		if p.top, err = dirfd.OpenDir(p.Root); err != nil {
			return err
		}
	}
	// From here on undo knows of it, however far it comes.
	p.placed = append(p.placed, placement{name: name})
	put := &p.placed[len(p.placed)-1]
	if err := put.openParent(p.top, strings.Trim(name[len(p.Root):], "/")); err != nil {
		return err
	}
	if _, err := put.Lstat(); err == nil {
		if err := os.MkdirAll(p.Covered, 0o700); err != nil {
			return err
		}
		covered := filepath.Join(p.Covered, strconv.Itoa(len(p.placed)-1))
		if err := os.Rename(put.Path(), covered); err != nil {
			return err
		}
		put.covered = covered
	}
	// What is made to mount on stays in another container's root file system, which is where it is found missing:
	// debootstrap takes its /dev for granted.
	if slices.ContainsFunc(p.placed,
		func(other placement) bool { return other.moved != nil && dirfd.Within(name, other.name) }) {
		put.stays, put.made = put.covered == "", nil
	}
	return p.fill(put, m)
}

// openParent opens the directory of a place below another, and makes what is missing on the way there.
func (put *placement) openParent(top *os.File, name string) error {
	dir, err := dirfd.OpenDirAt(top, ".")
	if err != nil {
		return err
	}
	put.open = append(put.open, dir)
	parents, base := path.Split(name)
	for element := range strings.SplitSeq(strings.TrimSuffix(parents, "/"), "/") {
		if element == "" {
			continue
		}
		next, err := dirfd.OpenDirAt(dir, element)
		if errors.Is(err, fs.ErrNotExist) {
			if err := makeMountPoint(int(dir.Fd()), element); err != nil {
				return err
			}
			put.made = append(put.made, dirfd.Entry{Dir: dir, Base: element})
			next, err = dirfd.OpenDirAt(dir, element)
		}
		if err != nil {
			return err
		}
		put.open = append(put.open, next)
		dir = next
	}
	put.Entry = dirfd.Entry{Dir: dir, Base: base}
	return nil
}

// fill makes what is at a placement.
func (p *Binds) fill(put *placement, m specs.Mount) error {
	options, err := mounts.ParseOptions(m.Options)
	if err != nil {
		return err
	}
	kernels := dirfd.Within(m.Source, "/proc") || dirfd.Within(m.Source, "/sys")
	if m.Type != "bind" || kernels {
		return makeDirectory(put, m, options)
	}
	source := filepath.Clean(m.Source)
	// A directory that is mounted twice has been moved by the first mount, and is copied from there for the second.
	if i := slices.IndexFunc(p.placed, func(other placement) bool {
		return other.moved != nil && filepath.Join(other.source.Dir.Name(), other.source.Base) == source
	}); i >= 0 {
		source = p.placed[i].Path()
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	readonly := options.Attributes&unix.MOUNT_ATTR_RDONLY != 0
	switch st := info.Sys().(*syscall.Stat_t); {
	case info.Mode()&fs.ModeCharDevice != 0:
		if err := unix.Mknodat(put.FD(), put.Base, st.Mode, int(st.Rdev)); err != nil {
			return dirfd.PathError("mknod", put.Base, err)
		}
		return os.Chmod(put.Path(), info.Mode().Perm()) // whatever the umask
	case info.Mode().IsRegular():
		in, err := os.Open(source)
		if err != nil {
			return err
		}
		defer in.Close()
		return dirfd.CopyFile(put.Entry, in)
	case !info.IsDir():
		return fmt.Errorf("%s is neither a file nor a directory nor a character device", source)
	case source == filepath.Clean(m.Source) && p.Movable(source):
		return put.move(source)
	default:
		shared, err := copyIn(put.Entry, source, p.Keep)
		if err != nil {
			return err
		}
		if readonly {
			shared.close()
			return nil
		}
		put.shared = shared
		return nil
	}
}

// move moves a directory to its place.
func (put *placement) move(source string) error {
	parent, err := dirfd.OpenDir(filepath.Dir(source))
	if err != nil {
		return err
	}
	put.open = append(put.open, parent)
	from := dirfd.Entry{Dir: parent, Base: filepath.Base(source)}
	dir, err := dirfd.OpenDirAt(from.Dir, from.Base)
	if err != nil {
		return err
	}
	put.open = append(put.open, dir)
	if err := from.Rename(put.Entry); err != nil {
		return err
	}
	put.moved, put.source = dir, from
	return nil
}

// makeDirectory makes the directory that stands for a file system of the kernel.
func makeDirectory(put *placement, m specs.Mount, options mounts.Options) error {
	var before []copiedFile
	if options.CopyUp && put.covered != "" {
		var err error
		if before, err = readTree(put.covered); err != nil {
			return err
		}
	}
	if err := makeMountPoint(put.FD(), put.Base); err != nil {
		return err
	}
	if m.Type == "tmpfs" {
		if err := os.Chmod(put.Path(), tmpfsMode(options)); err != nil {
			return err
		}
	}
	if err := writeTree(put.Path(), before); err != nil {
		return err
	}
	if m.Type == "tmpfs" && filepath.Base(m.Destination) == "dev" {
		return linkDevices(put.Path())
	}
	return nil
}

// tmpfsMode is the mode that a tmpfs begins with.
func tmpfsMode(o mounts.Options) fs.FileMode {
	const usual = 0o777 | fs.ModeSticky
	for option := range strings.SplitSeq(o.Data, ",") {
		if text, ok := strings.CutPrefix(option, "mode="); ok {
			if mode, err := strconv.ParseUint(text, 8, 32); err == nil {
				perm := fs.FileMode(mode) & fs.ModePerm
				if mode&unix.S_ISVTX != 0 {
					perm |= fs.ModeSticky
				}
				return perm
			}
		}
	}
	return usual
}

// Undo takes everything away again, the last first, and brings back what is kept of it.
func (p *Binds) Undo() error {
	var errs []error
	for i := len(p.placed) - 1; i >= 0; i-- {
		if err := p.placed[i].undo(); err != nil {
			errs = append(errs, fmt.Errorf("take %s away again: %w", p.placed[i].name, err))
		}
	}
	p.placed = nil
	if p.top != nil {
		errs = append(errs, p.top.Close())
		p.top = nil
	}
	return errors.Join(errs...)
}

func (put *placement) undo() error {
	defer func() {
		for _, f := range put.open {
			_ = f.Close() // it was opened to be looked at
		}
	}()
	var errs []error
	if put.Dir != nil { // else it did not come as far as that
		errs = append(errs, put.empty())
	}
	for _, dir := range slices.Backward(put.made) {
		err := dir.Remove(unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
			break // there is something in it by now, or it is something else
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// makeMountPoint makes a directory as it would be in another isolation, whatever the umask.
func makeMountPoint(dir int, name string) error {
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return dirfd.PathError("mkdir", name, err)
	}
	return dirfd.PathError("chmod", name, unix.Fchmodat(dir, name, 0o755, 0))
}

// empty takes away what is at the place, and puts back what was there.
func (put *placement) empty() error {
	var errs []error
	if put.shared != nil {
		errs = append(errs, put.shared.copyOut(put.Entry))
		put.shared.close()
	}
	if put.moved != nil {
		errs = append(errs, put.moveBack())
	}
	errs = append(errs, os.RemoveAll(put.Path()))
	switch {
	case put.covered != "":
		errs = append(errs, os.Rename(put.covered, put.Path()))
	case put.stays:
		errs = append(errs, makeMountPoint(put.FD(), put.Base))
	}
	return errors.Join(errs...)
}

// moveBack moves a directory back, or makes another one if the program has removed it with all that was in it.
func (put *placement) moveBack() error {
	there, err := put.Is(put.moved)
	if err != nil {
		return err
	}
	if there {
		return put.Rename(put.source)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(put.moved.Fd()), &st); err != nil {
		return dirfd.PathError("stat", put.Base, err)
	}
	if err := unix.Mkdirat(put.source.FD(), put.source.Base, st.Mode&0o777); err != nil {
		return dirfd.PathError("mkdir", put.source.Base, err)
	}
	if st.Nlink > 0 {
		return fmt.Errorf("the program has moved it away, and with it what was to be in %s", put.source.Dir.Name())
	}
	return nil
}
