// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// worker writes the entries of one package. It keeps the directory of the last entry open, since resolving each path in
// the root takes longer than writing most files.
type worker struct {
	*unpacker
	buf     []byte
	dir     *os.File
	dirName string
}

// close closes the directory that is kept open.
func (w *worker) close() {
	if w.dir != nil {
		_ = w.dir.Close() // a directory that was only read
	}
	w.dir = nil
}

// parent opens the directory of name, and makes it if needed.
func (w *worker) parent(name string) (fd int, base string, err error) {
	dir, base := path.Split(name)
	if w.dir == nil || w.dirName != dir {
		w.close()
		if w.dir, err = pathrs.MkdirAllHandle(w.root, "/"+dir, 0o755); err != nil {
			w.dir = nil
			return 0, "", err
		}
		w.dirName = dir
	}
	return int(w.dir.Fd()), base, nil
}

// write writes one member of a data.tar.
func (w *worker) write(content io.Reader, h *tar.Header, rank int) error {
	name, wanted := w.targetName(h.Name)
	if !wanted {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeReg, tar.TypeLink, tar.TypeSymlink:
	default:
		return fmt.Errorf("members of type %q are not supported", h.Typeflag)
	}
	e := entry{name, rank, h}
	if name == "" && !e.isDir() {
		return errors.New("the root must be a directory")
	}
	f, err := w.makeName(e)
	if f == nil || err != nil {
		return err
	}
	return w.fill(f, content, e)
}

// makeName creates the name of an entry in the tree, unless another package wins it. It returns a regular file for the
// caller to fill, and nil for everything else.
func (w *worker) makeName(e entry) (*os.File, error) {
	w.naming.Lock()
	defer w.naming.Unlock()
	if mine, err := w.claim(e); !mine || err != nil {
		return nil, err
	}
	switch e.header.Typeflag {
	case tar.TypeDir:
		return nil, w.makeDir(e)
	case tar.TypeReg:
		return w.createFile(e)
	case tar.TypeLink:
		return nil, w.hardLink(e)
	default:
		w.addLink(e)
		return nil, nil
	}
}

// addLink records a symbolic link for finish.
func (w *worker) addLink(e entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = append(w.links, e)
}

// makeDir makes a directory; finish sets its attributes.
func (w *worker) makeDir(e entry) error {
	dir, err := pathrs.MkdirAllHandle(w.root, "/"+e.name, 0o755)
	if err != nil {
		return err
	}
	return dir.Close()
}

// createFile creates an empty regular file.
func (w *worker) createFile(e entry) (*os.File, error) {
	dir, base, err := w.parent(e.name)
	if err != nil {
		return nil, err
	}
	fd, err := create(dir, base, func() (int, error) {
		return unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), e.name), nil
}

// fill writes the content of a file. If another package has won its name meanwhile, the file has none and vanishes.
func (w *worker) fill(f *os.File, content io.Reader, e entry) (err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := copyAll(f, content, w.buf); err != nil {
		return err
	}
	return w.setAttributes(f, e.header)
}

// copyAll is io.CopyBuffer without the ReadFrom of os.File, which would allocate a buffer for each file.
func copyAll(dst io.Writer, src io.Reader, buf []byte) error {
	for {
		n, err := src.Read(buf)
		if _, err := dst.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) || err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// hardLink makes another name for an earlier file of the same package. For a symbolic link, which does not
// exist yet, it records a copy of the link.
func (w *worker) hardLink(e entry) error {
	target, wanted := w.targetName(e.header.Linkname)
	if !wanted {
		return fmt.Errorf("link to the excluded file %q", e.header.Linkname)
	}
	if l, ok := w.pendingLink(target, e.rank); ok {
		e.header = l.header
		if mine, err := w.claim(e); !mine || err != nil {
			return err
		}
		w.addLink(e)
		return nil
	}
	targetDir, targetBase := path.Split(target)
	from, err := pathrs.MkdirAllHandle(w.root, "/"+targetDir, 0o755)
	if err != nil {
		return err
	}
	defer from.Close()
	dir, base, err := w.parent(e.name)
	if err != nil {
		return err
	}
	_, err = create(dir, base, func() (int, error) {
		return 0, unix.Linkat(int(from.Fd()), targetBase, dir, base, 0)
	})
	return err
}

// pendingLink returns a recorded symbolic link of the same package.
func (w *worker) pendingLink(name string, rank int) (entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.names[name]
	return e, ok && e.isLink() && e.rank == rank
}

// link makes a symbolic link.
func (w *worker) link(e entry) error {
	dir, base, err := w.parent(e.name)
	if err != nil {
		return err
	}
	_, err = create(dir, base, func() (int, error) { return 0, unix.Symlinkat(e.header.Linkname, dir, base) })
	if errors.Is(err, unix.EISDIR) {
		return nil // a directory of root that is in no package stays, as with dpkg
	}
	if err != nil {
		return err
	}
	if !w.opts.SkipOwners {
		if err := unix.Fchownat(dir, base, e.header.Uid, e.header.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	at := unix.NsecToTimespec(e.header.ModTime.UnixNano())
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// create calls do to make a name, after removing what has the name if needed.
func create(dir int, base string, do func() (int, error)) (int, error) {
	fd, err := do()
	if errors.Is(err, unix.EEXIST) {
		if err := unix.Unlinkat(dir, base, 0); err != nil {
			return -1, err
		}
		fd, err = do()
	}
	return fd, err
}
