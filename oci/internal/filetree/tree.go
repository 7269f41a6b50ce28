// SPDX-License-Identifier: Apache-2.0

// Package filetree looks at all files below a directory, to find out whether they are what they were: by what
// lstat(2) tells of them, which is cheap, and by their contents. Both are digests; neither depends on the
// order in which a file system lists its files.
package filetree

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// treeWorkers is how many goroutines read a tree. More than processors, because a disk answers several questions at
// once faster than one after the other.
const treeWorkers = 8

// Tree is what a directory holds, sorted by name.
type Tree struct {
	root  string
	files []treeFile
}

// treeFile is a file of a tree, without its contents.
type treeFile struct {
	name string // relative to the root of the tree, "." for that
	stat unix.Stat_t
	link string // text of a symbolic link
	// attrs are the names of the extended attributes, sorted, each with a NUL behind it.
	attrs string
}

// inode tells files of one machine apart.
type inode struct{ dev, ino uint64 }

func (f treeFile) inode() inode { return inode{uint64(f.stat.Dev), f.stat.Ino} } //nolint:unconvert // 32 bits for mips

func (f treeFile) isDir() bool { return f.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Scan looks at all files below root, and root itself.
func Scan(ctx context.Context, root string) (*Tree, error) {
	t := &Tree{root: root}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(treeWorkers)
	var walk func(dir string) error
	walk = func(dir string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		files, err := t.lookInto(dir)
		if err != nil {
			return err
		}
		mu.Lock()
		t.files = append(t.files, files...)
		mu.Unlock()
		for _, f := range files {
			if !f.isDir() || g.TryGo(func() error { return walk(f.name) }) {
				continue
			}
			if err := walk(f.name); err != nil {
				return err
			}
		}
		return nil
	}
	top, err := t.look(unix.AT_FDCWD, root, ".")
	if err != nil {
		return nil, err
	}
	t.files = append(t.files, top)
	g.Go(func() error { return walk(".") })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(t.files, func(a, b treeFile) int { return cmp.Compare(a.name, b.name) })
	return t, nil
}

// lookInto looks at all files of a directory. The system calls are made as they are, because os.File makes seven for
// each directory where four do.
func (t *Tree) lookInto(dir string) (files []treeFile, err error) {
	at := filepath.Join(t.root, dir)
	fd, err := unix.Open(at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at, Err: err}
	}
	defer unix.Close(fd) // nothing was written
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, *buf)
		if err != nil {
			return nil, &os.PathError{Op: "getdents", Path: at, Err: err}
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
	for _, name := range names {
		f, err := t.look(fd, name, filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// look asks for all of a file but its contents; base is its name in the directory fd.
func (t *Tree) look(fd int, base, name string) (treeFile, error) {
	f := treeFile{name: name}
	at := filepath.Join(t.root, name)
	if err := unix.Fstatat(fd, base, &f.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return f, &os.PathError{Op: "lstat", Path: at, Err: err}
	}
	if f.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		text, err := os.Readlink(at)
		if err != nil {
			return f, err
		}
		f.link = text
	}
	attrs, err := attributeNames(at)
	f.attrs = attrs
	return f, err
}

// attributeNames lists the extended attributes of a file, but for the label of SELinux: that is the host's affair.
func attributeNames(name string) (string, error) {
	var buf [1024]byte
	list := buf[:]
	n, err := unix.Llistxattr(name, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 1<<16) // XATTR_LIST_MAX
		n, err = unix.Llistxattr(name, list)
	}
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return "", nil
	}
	if err != nil {
		return "", &os.PathError{Op: "llistxattr", Path: name, Err: err}
	}
	names := bytes.SplitAfter(list[:n], []byte{0})
	names = slices.DeleteFunc(names, func(name []byte) bool { return string(name) == "security.selinux\x00" })
	slices.SortFunc(names, bytes.Compare)
	return string(bytes.Join(names, nil)), nil
}

// Size is how many bytes the files have, each counted once however many names it has.
func (t *Tree) Size() int64 {
	seen := map[inode]bool{}
	var total int64
	for _, f := range t.files {
		id := f.inode()
		if f.isDir() || seen[id] {
			continue
		}
		if f.stat.Nlink > 1 {
			seen[id] = true
		}
		total += f.stat.Size
	}
	return total
}

// Looks is a digest of what lstat(2) and its like tell of the files. Whoever changes a file changes its ctime, which no
// program can set, so that a tree with the same digest is the same but for what a disk has done to it.
func (t *Tree) Looks() digest.Digest {
	h := NewFieldHash()
	for _, f := range t.files {
		f.describe(h)
		h.number(uint64(f.stat.Ctim.Sec), uint64(f.stat.Ctim.Nsec))
	}
	return h.Digest()
}

// describe adds to a digest what a copy of the file has as well.
func (f treeFile) describe(h *FieldHash) {
	h.Text(f.name, f.link, f.attrs)
	h.number(uint64(f.stat.Mode), uint64(f.stat.Uid), uint64(f.stat.Gid), uint64(f.stat.Mtim.Sec),
		uint64(f.stat.Mtim.Nsec))
	switch f.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // its size is the file system's affair
	case unix.S_IFCHR, unix.S_IFBLK:
		h.number(uint64(f.stat.Rdev)) //nolint:unconvert // 32 bits for mips
	default:
		h.number(uint64(f.stat.Size))
	}
}

// Contents is a digest of all that a tree is: also of what is in its files and extended attributes, and which names are
// one file, but not of ctime.
func (t *Tree) Contents(ctx context.Context) (digest.Digest, error) {
	sums := make([][sha256.Size]byte, len(t.files))
	first := map[inode]string{}
	same := make([]string, len(t.files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(treeWorkers)
	for i, f := range t.files {
		if !f.isDir() && f.stat.Nlink > 1 {
			id := f.inode()
			if name, ok := first[id]; ok {
				same[i] = name
				continue
			}
			first[id] = f.name
		}
		if f.attrs == "" && f.stat.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			sums[i], err = t.sum(f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	h := NewFieldHash()
	for i, f := range t.files {
		f.describe(h)
		h.Text(same[i], string(sums[i][:]))
	}
	return h.Digest(), nil
}

// sum is a digest of a file's extended attributes and contents.
func (t *Tree) sum(f treeFile) (sum [sha256.Size]byte, err error) {
	h := NewFieldHash()
	at := filepath.Join(t.root, f.name)
	for name := range bytes.SplitSeq([]byte(f.attrs), []byte{0}) {
		if len(name) == 0 {
			continue
		}
		var value [1 << 16]byte // larger than any that a file system of Linux holds
		n, err := unix.Lgetxattr(at, string(name), value[:])
		if err != nil {
			return sum, &os.PathError{Op: "lgetxattr " + string(name), Path: at, Err: err}
		}
		h.Text(string(value[:n]))
	}
	if f.stat.Mode&unix.S_IFMT == unix.S_IFREG {
		// Neither a link nor a pipe that has taken the file's place meanwhile is followed or waited for.
		file, err := os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return sum, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		buf := copyBuffers.Get().(*[]byte)
		defer copyBuffers.Put(buf)
		n, err := io.CopyBuffer(h.w, struct{ io.Reader }{file}, *buf)
		if err != nil {
			return sum, err
		}
		if n != f.stat.Size {
			return sum, fmt.Errorf("%s: %d bytes are there, and it has %d", at, n, f.stat.Size)
		}
	}
	h.w.Sum(sum[:0])
	return sum, nil
}

// copyBuffers are for reading files and directories.
var copyBuffers = sync.Pool{New: func() any { buf := make([]byte, 128<<10); return &buf }}

// FieldHash is a SHA-256 of fields, in which none can be taken for a part of another.
type FieldHash struct {
	w   hash.Hash
	buf []byte
}

// NewFieldHash returns the hash of no fields.
func NewFieldHash() *FieldHash { return &FieldHash{w: sha256.New()} }

func (h *FieldHash) Text(fields ...string) {
	h.buf = h.buf[:0]
	for _, f := range fields {
		h.buf = binary.BigEndian.AppendUint64(h.buf, uint64(len(f)))
		h.buf = append(h.buf, f...)
	}
	h.w.Write(h.buf) // a hash never fails
}

func (h *FieldHash) number(fields ...uint64) {
	h.buf = h.buf[:0]
	for _, f := range fields {
		h.buf = binary.BigEndian.AppendUint64(h.buf, f)
	}
	h.w.Write(h.buf) // a hash never fails
}

func (h *FieldHash) Digest() digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, h.w.Sum(nil))
}
