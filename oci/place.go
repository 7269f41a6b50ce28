package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// placer puts things where mounts would be, for the time of one run in which nothing can be mounted:
//
//	a directory of this session, or another container's root   is moved there, and back
//	any other directory                                        is copied there, and what has changed is brought back
//	a file                                                     is copied there
//	a device                                                   is made there, by mknod(2)
//	tmpfs                                                      is a directory, with a copy of what it covers if asked for
//	proc, sys, devpts                                          is an empty directory
//
// What a mount would cover waits in another directory. Nothing runs in the root file system meanwhile, so names that
// were found in it stay true.
type placer struct {
	root string // of the container
	// stash is a directory of the same file system for what is covered. It is made when it is needed.
	stash string
	// movable reports whether a directory may be moved.
	movable func(dir string) bool
	// keep is a directory that is never copied: the store itself, which may lie in a directory that is lent.
	keep string

	placed []placement
}

// placement is one thing in the place of a mount.
type placement struct {
	name    string // where it is, on the host
	covered string // where what was there waits; empty if there was nothing
	made    string // the topmost directory that was made to hold it, to be removed again; empty for none
	stays   bool   // an empty directory remains
	source  string // where it has been moved from; empty if it was made
	mode    fs.FileMode
	lent    *loan // where it has been copied from; nil if that does not matter
}

// place puts one mount in its place.
func (p *placer) place(m specs.Mount) error {
	name, err := securejoin.SecureJoin(p.root, m.Destination)
	if err != nil {
		return err
	}
	at := placement{name: name}
	if at.made, err = makeParents(filepath.Dir(name)); err != nil {
		return err
	}
	if _, err := os.Lstat(name); err == nil {
		if err := os.MkdirAll(p.stash, 0o700); err != nil {
			return err
		}
		at.covered = filepath.Join(p.stash, strconv.Itoa(len(p.placed)))
		if err := os.Rename(name, at.covered); err != nil {
			return err
		}
	}
	// What is made to mount on stays in another container's root file system, which is where it is found missing:
	// debootstrap takes its /dev for granted.
	if slices.ContainsFunc(p.placed, func(other placement) bool { return other.source != "" && within(name, other.name) }) {
		at.stays, at.made = at.covered == "", ""
	}
	// From here on undo knows of it, however far it comes.
	p.placed = append(p.placed, at)
	return p.fill(&p.placed[len(p.placed)-1], m)
}

// fill makes what is at a placement.
func (p *placer) fill(at *placement, m specs.Mount) error {
	options, err := parseOptions(m.Options)
	if err != nil {
		return err
	}
	kernels := within(m.Source, "/proc") || within(m.Source, "/sys")
	if m.Type != "bind" || kernels {
		return makeDirectory(at, m, options)
	}
	source := filepath.Clean(m.Source)
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	readonly := options.attributes&unix.MOUNT_ATTR_RDONLY != 0
	switch st := info.Sys().(*syscall.Stat_t); {
	case info.Mode()&fs.ModeCharDevice != 0:
		if err := unix.Mknod(at.name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
		return os.Chmod(at.name, info.Mode().Perm()) // whatever the umask
	case info.Mode().IsRegular():
		return copyFile(at.name, source, info)
	case !info.IsDir():
		return fmt.Errorf("%s is neither a file nor a directory nor a character device", source)
	case p.movable(source):
		if err := os.Rename(source, at.name); err != nil {
			return err
		}
		at.source, at.mode = source, info.Mode()
		return nil
	default:
		lent, err := lend(at.name, source, p.keep)
		if !readonly {
			at.lent = lent
		}
		return err
	}
}

// makeDirectory makes the directory that stands for a file system of the kernel.
func makeDirectory(at *placement, m specs.Mount, options mountOptions) error {
	var before []copiedFile
	if options.copyUp && at.covered != "" {
		var err error
		if before, err = readTree(at.covered); err != nil {
			return err
		}
	}
	if err := os.Mkdir(at.name, 0o755); err != nil {
		return err
	}
	if m.Type == "tmpfs" {
		if err := os.Chmod(at.name, tmpfsMode(options)); err != nil {
			return err
		}
	}
	if err := writeTree(at.name, before); err != nil {
		return err
	}
	if m.Type == "tmpfs" && filepath.Base(m.Destination) == "dev" {
		return linkDevices(at.name)
	}
	return nil
}

// tmpfsMode is the mode that a tmpfs begins with.
func tmpfsMode(o mountOptions) fs.FileMode {
	const usual = 0o777 | fs.ModeSticky
	for option := range strings.SplitSeq(o.data, ",") {
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

// makeParents makes a directory and those above it that are missing, and gives the topmost of those.
func makeParents(dir string) (made string, err error) {
	for missing := dir; ; missing = filepath.Dir(missing) {
		if _, err := os.Lstat(missing); err == nil {
			break
		}
		made = missing
	}
	return made, os.MkdirAll(dir, 0o755)
}

// undo takes everything away again, the last first, and brings back what is kept of it.
func (p *placer) undo() error {
	var errs []error
	for i := len(p.placed) - 1; i >= 0; i-- {
		if err := p.placed[i].undo(); err != nil {
			errs = append(errs, fmt.Errorf("take %s away again: %w", p.placed[i].name, err))
		}
	}
	p.placed = nil
	return errors.Join(errs...)
}

func (at *placement) undo() error {
	var errs []error
	if at.lent != nil {
		errs = append(errs, at.lent.bringBack(at.name))
	}
	if at.source != "" {
		err := os.Rename(at.name, at.source)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Mkdir(at.source, at.mode.Perm()) // the program has removed it with all that was in it
		}
		if err != nil {
			return err
		}
	}
	errs = append(errs, os.RemoveAll(at.name))
	switch {
	case at.covered != "":
		errs = append(errs, os.Rename(at.covered, at.name))
	case at.stays:
		errs = append(errs, os.Mkdir(at.name, 0o755))
	}
	if at.made != "" {
		errs = append(errs, removeEmpty(filepath.Dir(at.name), at.made))
	}
	return errors.Join(errs...)
}

// removeEmpty removes a directory and those above it up to top, unless there is something in them by now.
func removeEmpty(dir, top string) error {
	for within(dir, top) {
		err := os.Remove(dir)
		if errors.Is(err, unix.ENOTEMPTY) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

// copyFile copies a regular file with its owner, mode and time, sharing the data where the file system can do that.
func copyFile(dst, src string, info fs.FileInfo) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err == nil {
			err = os.Chtimes(dst, info.ModTime(), info.ModTime())
		}
	}()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	st := info.Sys().(*syscall.Stat_t)
	// In this order: a change of owner clears the setuid bit.
	return errors.Join(out.Chown(int(st.Uid), int(st.Gid)), out.Chmod(info.Mode()))
}
