// SPDX-License-Identifier: Apache-2.0

package ociimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// CheckTarget returns an error if Add cannot add an image to a directory: it exists, is not an image layout and is not
// empty.
func CheckTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	isLayout := func(e fs.DirEntry) bool { return e.Name() == imgspec.ImageLayoutFile }
	if len(entries) > 0 && !slices.ContainsFunc(entries, isLayout) {
		return fmt.Errorf("%q exists and is not an OCI image layout", dir)
	}
	return nil
}

// Add copies the image of the layout src under a name into the layout dst, which it makes if needed. The image replaces
// one of the same name in the index, or the one without a name if name is empty; the old blobs stay, since other images
// may use them. Blobs in dst are not written again. The index changes when all blobs are complete. After an error, Add
// removes a layout that it has made.
//
// The artifacts that Attach of src has returned are copied and listed too, and those of an image that is replaced are
// not listed any more. An index with artifacts has several entries, so that most readers want a name.
func Add(ctx context.Context, dst, src, name string, artifacts ...imgspec.Descriptor) (err error) {
	if err := CheckTarget(dst); err != nil {
		return err
	}
	err = os.Mkdir(dst, dirMode)
	switch {
	case err == nil:
		defer func() {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(dst))
			}
		}()
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := prepare(dst); err != nil {
		return err
	}
	index, err := readIndex(src)
	if err != nil {
		return fmt.Errorf("index of %s: %w", src, err)
	}
	for _, manifest := range slices.Concat(index.Manifests, artifacts) {
		if err := copyImage(ctx, dst, src, manifest); err != nil {
			return err
		}
	}
	return addToIndex(dst, index.Manifests, name, artifacts)
}

// copyImage copies the blobs of one image.
func copyImage(ctx context.Context, dst, src string, d imgspec.Descriptor) error {
	data, err := diskimage.ReadRegular(blobFile(src, d.Digest))
	if err != nil {
		return err
	}
	var manifest imgspec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	for _, blob := range append(slices.Clone(manifest.Layers), manifest.Config, d) {
		name := blobFile(dst, blob.Digest)
		if info, err := os.Stat(name); err == nil && info.Size() == blob.Size {
			continue
		}
		if err := copyFile(ctx, name, blobFile(src, blob.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file, which gets its name when it is complete.
func copyFile(ctx context.Context, dst, src string) error {
	in, err := diskimage.OpenRegular(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return diskimage.WriteFile(ctx, dst, fileMode, func(out *os.File) error {
		_, err := io.Copy(out, in) // copy_file_range(2)
		return err
	})
}

// addToIndex adds manifests under a name, and artifacts without one, to the index of a layout. A lock keeps other
// processes out.
func addToIndex(dir string, manifests []imgspec.Descriptor, name string, artifacts []imgspec.Descriptor) (err error) {
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	index, err := readIndex(dir)
	if err != nil {
		return fmt.Errorf("index of %s: %w", dir, err)
	}
	all := slices.DeleteFunc(index.Manifests, func(d imgspec.Descriptor) bool {
		again := slices.ContainsFunc(artifacts, func(a imgspec.Descriptor) bool { return a.Digest == d.Digest })
		return again || !isArtifact(d) && d.Annotations[imgspec.AnnotationRefName] == name
	})
	all, err = withoutOrphans(dir, slices.Concat(all, named(manifests, name), artifacts))
	if err != nil {
		return fmt.Errorf("index of %s: %w", dir, err)
	}
	return writeIndex(dir, all)
}

// named returns the manifests under a name, or without one.
func named(manifests []imgspec.Descriptor, name string) []imgspec.Descriptor {
	all := slices.Clone(manifests)
	for i := range all {
		all[i].Annotations = nil
		if name != "" {
			all[i].Annotations = map[string]string{imgspec.AnnotationRefName: name}
		}
	}
	return all
}

// WriteArchive writes the image of a layout, under a name unless that is empty, as a tar archive of a layout. mtime is
// the time of all members.
func WriteArchive(ctx context.Context, w io.Writer, dir, name string, mtime time.Time) error {
	index, err := readIndex(dir)
	if err != nil {
		return fmt.Errorf("index of %s: %w", dir, err)
	}
	index.Manifests = named(index.Manifests, name)
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	a := archive{tar.NewWriter(w), mtime.UTC().Truncate(time.Second)}
	layout, err := diskimage.ReadRegular(filepath.Join(dir, imgspec.ImageLayoutFile))
	if err != nil {
		return err
	}
	if err := errors.Join(a.add(imgspec.ImageLayoutFile, layout), a.add(imgspec.ImageIndexFile, data)); err != nil {
		return err
	}
	blobs, err := os.ReadDir(filepath.Join(dir, BlobsDir)) // sorted
	if err != nil {
		return err
	}
	// Readers such as skopeo 1.9 chown directories that are not in the archive to root, which only root can do.
	for i, c := range BlobsDir + "/" {
		if c != '/' {
			continue
		}
		if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: BlobsDir[:i] + "/", Mode: 0o755,
			ModTime: a.mtime}); err != nil {
			return fmt.Errorf("member %q: %w", BlobsDir[:i], err)
		}
	}
	for _, blob := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.addFile(BlobsDir+"/"+blob.Name(), filepath.Join(dir, BlobsDir, blob.Name())); err != nil {
			return err
		}
	}
	return a.Close()
}

// archive is a tar archive whose members have the same time.
type archive struct {
	*tar.Writer
	mtime time.Time
}

// add writes a member with data.
func (a archive) add(name string, data []byte) error {
	return a.addFrom(name, int64(len(data)), bytes.NewReader(data))
}

// addFile writes a member with the content of a file.
func (a archive) addFile(name, file string) error {
	f, err := diskimage.OpenRegular(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.addFrom(name, info.Size(), f)
}

// addFrom writes a member.
func (a archive) addFrom(name string, size int64, content io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: a.mtime}
	if err := a.WriteHeader(h); err != nil {
		return fmt.Errorf("member %q: %w", name, err)
	}
	if _, err := io.Copy(a, content); err != nil {
		return fmt.Errorf("member %q: %w", name, err)
	}
	return nil
}
