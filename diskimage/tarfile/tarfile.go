// SPDX-License-Identifier: Apache-2.0

// Package tarfile writes a directory tree as a tar archive, compressed according to the suffix of
// its name.
//
// The format is pax (POSIX.1-2001): names and links of any length, files beyond 8 GiB, owners
// beyond 2097151, times to the nanosecond, hard links, symbolic links, devices, fifos, and extended
// attributes in the records of GNU tar, star and container engines (SCHILY.xattr). These include
// file capabilities and access control lists. Names of users and groups are left empty, because
// those of the build host would be wrong: owners are numbers.
//
//	out, err := tarfile.Compress(file, "debian.tar.xz", 0)
//	…
//	err = errors.Join(tarfile.Write(ctx, out, tree), out.Close())
//
// The same tree always results in the same bytes: the order is the tree's, headers contain neither
// a process ID nor the current time, and the result of the compression does not depend on the
// number of threads.
//
// Unpack as root with
//
//	tar --xattrs --xattrs-include='*' --numeric-owner -xpf debian.tar.xz
//
// WriteSparse writes large holes as such. Write, for layers of container images, does not: the OCI
// image specification advises against it, because not all engines read them.
//
// Not supported: sockets, which tar cannot represent and which are left out; access control lists in
// star's text form (tar --acls), because the extended attributes contain the same lists. To read an
// archive see diskimage.NewTarTree.
package tarfile

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	// rootName is the Name of the root of a diskimage.Tree.
	rootName = "."
	// rootMode is the mode of the root in every archive. Build directories tend to have mode 0700,
	// and unpacking such an archive would deny access to every user but root (spec, E-22).
	rootMode = 0o755
	// permissions are the bits of st_mode that tar records besides the type.
	permissions = 0o7777
	// xattrRecord is the prefix of a pax record that holds an extended attribute.
	xattrRecord = "SCHILY.xattr."
	bufferSize  = 1 << 20
	// tarBlock is the unit of an archive.
	tarBlock = 512
)

// xattrEscapes are GNU tar's escapes in names of extended attributes, because "=" ends the name of
// a pax record.
var xattrEscapes = strings.NewReplacer("%", "%25", "=", "%3D")

// Write writes the tree to w as an uncompressed archive. Members are named as in vmdebootstrap 1.7:
// "./", "./etc/", "./etc/passwd". The root always has mode 0755. An error about a member contains
// its name; after an error, the data in w is not an archive. Write does not close w.
func Write(ctx context.Context, w io.Writer, tree diskimage.Tree) error {
	return write(ctx, w, tree, false)
}

// WriteSparse is Write, but files with at least 1 MiB of zeros are sparse files in the archive.
func WriteSparse(ctx context.Context, w io.Writer, tree diskimage.Tree) error {
	return write(ctx, w, tree, true)
}

func write(ctx context.Context, w io.Writer, tree diskimage.Tree, sparse bool) error {
	out := bufio.NewWriterSize(w, bufferSize) // archive/tar writes 512 bytes at a time
	a := archive{Writer: tar.NewWriter(out), out: out, buf: make([]byte, bufferSize), sparse: sparse}
	for e, err := range tree.Entries() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("write tar archive: %w", err)
		}
		if err := a.add(ctx, e); err != nil {
			return fmt.Errorf("write tar archive: member %q: %w", e.Name, err)
		}
	}
	if err := a.Close(); err != nil {
		return fmt.Errorf("write tar archive: end: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write tar archive: end: %w", err)
	}
	return nil
}

// archive is a tar.Writer with a buffer for contents.
type archive struct {
	*tar.Writer
	out    io.Writer // what the Writer writes to
	buf    []byte
	sparse bool
}

// add writes one member.
func (a archive) add(ctx context.Context, e diskimage.Entry) error {
	if e.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil
	}
	h, err := header(e)
	if err != nil {
		return err
	}
	if done, err := a.addSparse(ctx, e, h); done || err != nil {
		return err
	}
	if err := a.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	content, err := e.Open()
	if err != nil {
		return err
	}
	return errors.Join(a.copy(ctx, a.Writer, io.NewSectionReader(content, 0, h.Size), h.Size), content.Close())
}

// copy writes content of size bytes.
func (a archive) copy(ctx context.Context, dst io.Writer, content io.Reader, size int64) error {
	n, err := io.CopyBuffer(onlyWriter{dst}, contextReader{ctx, content}, a.buf)
	if err == nil && n < size {
		err = fmt.Errorf("content ends after %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	return err
}

// contextReader is a reader that fails once its context is done.
type contextReader struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// header converts an entry for archive/tar. A hard link has all fields only for display: readers
// take everything but the name from the first name.
func header(e diskimage.Entry) (*tar.Header, error) {
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    "./" + e.Name,
		Mode:    int64(e.Mode & permissions),
		Uid:     int(e.UID),
		Gid:     int(e.GID),
		ModTime: e.ModTime,
	}
	if e.HardLink != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, "./"+e.HardLink
		return h, nil
	}
	switch kind := e.Mode & unix.S_IFMT; kind {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		if e.Name == rootName {
			h.Name, h.Mode = "./", rootMode
		}
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Linkname
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case unix.S_IFBLK:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	default:
		return nil, fmt.Errorf("unknown file type %#o", kind)
	}
	if len(e.Xattrs) > 0 {
		h.PAXRecords = make(map[string]string, len(e.Xattrs))
	}
	for _, x := range e.Xattrs {
		h.PAXRecords[xattrRecord+xattrEscapes.Replace(x.Name)] = string(x.Value)
	}
	return h, nil
}
