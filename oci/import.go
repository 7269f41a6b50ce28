// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Import makes snapshots of layers, the first above the snapshot base (or above nothing if base is
// empty), each other one above its predecessor. Like Container.Snapshot it replaces older snapshots
// of the same names. An incomplete snapshot has no name and is not visible. The error wraps
// fs.ErrNotExist if base is gone, or was damaged and has been removed.
func (s *Store) Import(ctx context.Context, base string, packed []types.PackedSnapshot) error {
	var layers layerChain
	if base != "" {
		_, record, err := s.verified(ctx, base)
		if err != nil {
			return err
		}
		layers = layerChain{record.Layers, record.Folded}
	}
	for _, p := range packed {
		layer, err := s.unpackLayer(ctx, layers.top(), p)
		if err != nil {
			return fmt.Errorf("unpack snapshot %q: %w", p.Name, err)
		}
		if layers, err = s.commit(ctx, layer, p.Name, p.Labels, layers); err != nil {
			return fmt.Errorf("snapshot %q: %w", p.Name, err)
		}
	}
	return nil
}

// unpackLayer unpacks an archive into a new layer. Like the layer of a container, it belongs to
// this session until it is named.
func (s *Store) unpackLayer(ctx context.Context, parent string, p types.PackedSnapshot) (id string, err error) {
	f, err := os.Open(p.File)
	if err != nil {
		return "", err
	}
	defer f.Close()
	plain, err := archive.DecompressStream(contextReader{ctx, f})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	layer, err := s.store.CreateLayer("", parent, []string{s.session.workName()}, "", true, nil)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.DeleteLayer(layer.ID))
		}
	}()
	if err := s.layers.completeVFS(layer); err != nil {
		return "", err
	}
	digester := p.DiffID.Algorithm().Digester()
	diff := io.TeeReader(plain, digester.Hash())
	apply := s.layers.apply
	if s.options.Place.SingleID() {
		apply = s.layers.applyWithOwnerXattrs
	}
	if err := apply(layer, diff); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, diff); err != nil { // padding after the end of the archive
		return "", err
	}
	if got := digester.Digest(); got != p.DiffID {
		return "", fmt.Errorf("digest mismatch: want %s, got %s", p.DiffID, got)
	}
	return layer.ID, nil
}

// apply unpacks an archive with whiteouts. The store's own ApplyDiff would block all other
// builds meanwhile.
func (l *layerStore) apply(layer *storage.Layer, diff io.Reader) error {
	_, err := l.driver.ApplyDiff(layer.ID, graphdriver.ApplyDiffOpts{Diff: diff})
	return err
}

// applyWithOwnerXattrs is apply for the isolation with a single ID.
func (l *layerStore) applyWithOwnerXattrs(layer *storage.Layer, diff io.Reader) error {
	return withOwnerXattrs(diff, func(r io.Reader) error { return l.apply(layer, r) })
}

// ownersToXattrs copies an archive, replacing owners by owner xattrs.
func ownersToXattrs(r io.Reader, w io.Writer) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		o := owners.Owner{UID: uint32(h.Uid), GID: uint32(h.Gid)}
		if path.Clean(h.Name) == "." && o != owners.Root {
			return fmt.Errorf("the root directory belongs to %d:%d; with a single ID it must belong to 0:0", o.UID, o.GID)
		}
		if h.Typeflag != tar.TypeLink {
			h.PAXRecords, h.Xattrs = xattrRecords(h, o), nil //nolint:staticcheck // reader and writer use both
		}
		h.Uid, h.Gid, h.Format = 0, 0, tar.FormatPAX
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
}

// xattrRecords returns the PAX records of a member, with owner xattrs in place of its owner and of
// the users and groups in its access control lists.
func xattrRecords(h *tar.Header, o owners.Owner) map[string]string {
	const xattr = "SCHILY.xattr."
	mode := map[byte]uint32{tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR}[h.Typeflag]
	records := map[string]string{}
	for key, value := range h.PAXRecords {
		name, isXattr := strings.CutPrefix(key, xattr)
		if isXattr && (ownerxattr.Is(name) || name == ownerxattr.NameFor(mode)) {
			continue // the header of the member says who owns it
		}
		if replacement, ok := ownerxattr.ForACL(name); ok && isXattr {
			if list, err := acl.Parse([]byte(value)); err == nil && list.NamesOthers() {
				key = xattr + replacement
			}
		}
		records[key] = value
	}
	if o != owners.Root {
		name, value := o.Xattr(mode)
		records[xattr+name] = string(value)
	}
	return records
}

// completeVFS completes the copy of its parent that the driver vfs makes of a new layer. Other
// drivers do not copy.
func (l *layerStore) completeVFS(layer *storage.Layer) error {
	if layer.Parent == "" || l.store.GraphDriverName() != host.DriverVFS {
		return nil
	}
	return l.completeCopy(layer.ID, layer.Parent)
}

// completeCopy copies to a layer that holds a complete tree what a copy of another layer through a
// tar archive (containers/storage, pkg/archive) leaves out: extended attributes other than user.*
// and capabilities, such as access control lists, and times before 1970.
func (l *layerStore) completeCopy(layer, original string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy layer %s: %w", original, err)
		}
	}()
	from, err := l.driver.Get(original, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.driver.Put(original)) }()
	dir := l.tree(layer)
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
			return nil // a socket: tar archives cannot hold one
		} else if err != nil {
			return fmt.Errorf("compare %s with its copy: %w", name, err)
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

// copyAttributes copies all extended attributes of a file to another.
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
		// Of security.*, capabilities are copied already, and labels are the host's business.
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
	// XATTR_SIZE_MAX: no value is larger.
	value := make([]byte, 1<<16)
	n, err := unix.Lgetxattr(from, name, value)
	if err != nil {
		return err
	}
	value = value[:n]
	existing := make([]byte, n+1)
	if m, err := unix.Lgetxattr(to, name, existing); err == nil && bytes.Equal(existing[:m], value) {
		return nil
	}
	return unix.Lsetxattr(to, name, value, 0)
}
