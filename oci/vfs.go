package oci

import (
	"errors"
	"io/fs"
	"path/filepath"

	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"
)

// copyACLs copies the access control lists of a layer to a full copy of it: the store's driver "vfs" copies by an archive
// that has none (go.podman.io/storage, pkg/archive).
func (e *Engine) copyACLs(layer, root string) (err error) {
	from, err := e.driver.Get(layer, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.driver.Put(layer)) }()
	buf := make([]byte, 1<<16) // as long as a list can be
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		for _, attribute := range []string{aclAccess, aclDefault} {
			n, err := unix.Lgetxattr(name, attribute, buf)
			if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
				continue
			}
			if err == nil {
				err = unix.Lsetxattr(root+name[len(from):], attribute, buf[:n], 0)
			}
			if err != nil {
				return &fs.PathError{Op: "copy the access control list of", Path: name, Err: err}
			}
		}
		return nil
	})
}
