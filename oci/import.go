package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Import makes snapshots of layers, the first of them above the snapshot base, or above nothing if that is empty, and
// each other one above the one before it. It replaces older ones of the same names, as Container.Snapshot does. What is
// not complete has no name and cannot be seen. The error wraps fs.ErrNotExist if base is gone, or has lost something and is
// gone now.
func (e *Engine) Import(ctx context.Context, base string, packed []types.PackedSnapshot) error {
	c := &Container{engine: e}
	parent := ""
	if base != "" {
		image, record, err := e.sound(ctx, base)
		if err != nil {
			return err
		}
		parent, c.layers = image.TopLayer, record.Layers
	}
	for _, p := range packed {
		layer, err := e.unpackLayer(ctx, parent, p)
		if err != nil {
			return fmt.Errorf("unpack snapshot %q: %w", p.Name, err)
		}
		if err := c.name(ctx, layer, p.Name, p.Labels); err != nil {
			return fmt.Errorf("snapshot %q: %w", p.Name, err)
		}
		parent = layer
	}
	return nil
}

// unpackLayer makes a layer of an archive. Like the layer of a container it belongs to this session until it is named.
func (e *Engine) unpackLayer(ctx context.Context, parent string, p types.PackedSnapshot) (id string, err error) {
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
	layer, err := e.store.CreateLayer("", parent, []string{e.session.workName()}, "", true, nil)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.store.DeleteLayer(layer.ID))
		}
	}()
	if err := e.completeCopy(layer); err != nil {
		return "", err
	}
	verifier := p.DiffID.Verifier()
	diff := io.TeeReader(plain, verifier)
	apply := e.applyLayer
	if isolation == IsolationSingle {
		apply = e.applyNoted
	}
	if err := apply(layer, diff); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, diff); err != nil { // what is behind the archive's end
		return "", err
	}
	if !verifier.Verified() {
		return "", fmt.Errorf("the layer is not %s", p.DiffID)
	}
	return layer.ID, nil
}

// applyLayer unpacks an archive with whiteouts. The store's own ApplyDiff would lock all other builds out for the time that
// this takes.
func (e *Engine) applyLayer(layer *storage.Layer, diff io.Reader) error {
	_, err := e.driver.ApplyDiff(layer.ID, graphdriver.ApplyDiffOpts{Diff: diff})
	return err
}

// applyNoted is applyLayer where there is a single id.
func (e *Engine) applyNoted(layer *storage.Layer, diff io.Reader) error {
	return withNotes(diff, func(r io.Reader) error { return e.applyLayer(layer, r) })
}

// noteOwners copies an archive, with notes of owners in place of owners.
func noteOwners(r io.Reader, w io.Writer) error {
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
			return fmt.Errorf("the root directory belongs to %d:%d, and here it can only belong to 0:0", o.UID, o.GID)
		}
		if h.Typeflag != tar.TypeLink {
			h.PAXRecords, h.Xattrs = notedRecords(h, o), nil //nolint:staticcheck // the reader fills both, the writer writes both
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

// notedRecords are the extended attributes of a member with notes in place of what they say of users and groups.
func notedRecords(h *tar.Header, o owners.Owner) map[string]string {
	const xattr = "SCHILY.xattr."
	mode := map[byte]uint32{tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR}[h.Typeflag]
	records := map[string]string{}
	for key, value := range h.PAXRecords {
		name, isXattr := strings.CutPrefix(key, xattr)
		if isXattr && (ownerxattr.Is(name) || name == ownerxattr.NameFor(mode)) {
			continue // whose the member is stands in its header
		}
		if note, ok := ownerxattr.ForACL(name); ok && isXattr {
			if list, err := acl.Parse([]byte(value)); err == nil && list.NamesOthers() {
				key = xattr + note
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
