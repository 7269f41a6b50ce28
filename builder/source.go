package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// Source is where a root file system comes from that is there already.
type Source struct {
	// Transport is what stands before the colon: "tar", "dir", "oci".
	Transport string
	// Path is the file or directory; "-" is standard input.
	Path string
	// Name is the tag of an image in a layout or archive, or the full reference of one in a registry; empty for none.
	Name string
}

// sourceForms are the sources of --from, for its help and its errors.
var sourceForms = []string{"FILE", "-", "DIRECTORY", "tar:FILE", "dir:DIRECTORY"}

// SourceForms lists what a source looks like.
func SourceForms() string { return strings.Join(sourceForms, ", ") }

// ParseSource reads a source. A path without a transport is a directory if it is one, and a tarball else.
func ParseSource(text string, w World) (Source, error) {
	transport, rest, ok := strings.Cut(text, ":")
	switch {
	case text == "-":
		return Source{Transport: exportTar, Path: "-"}, nil
	case !ok || strings.Contains(transport, "/"):
		s := Source{Transport: exportTar, Path: text}
		info, err := w.Stat(w.absolute(text))
		if err != nil {
			return Source{}, err
		}
		if info.IsDir() {
			s.Transport = exportDir
		}
		return s, nil
	}
	s := Source{Transport: transport, Path: rest}
	switch transport {
	case exportTar, exportDir:
	default:
		return Source{}, fmt.Errorf("%q is none of %s", text, SourceForms())
	}
	if s.Path == "" {
		return Source{}, fmt.Errorf("%q names no file or directory", text)
	}
	if s.Path == "-" {
		return s, nil
	}
	info, err := w.Stat(w.absolute(s.Path))
	switch {
	case err != nil:
		return Source{}, err
	case info.IsDir() != (transport == exportDir):
		return Source{}, fmt.Errorf("%q is of another kind than %s", s.Path, transport)
	}
	return s, nil
}

// NeedsNamespace reports whether the owners of the files are those that a user namespace shows.
func (s Source) NeedsNamespace() bool { return s.Transport == exportDir }

// SourceTree is an open source.
type SourceTree struct {
	diskimage.Tree
	files []io.Closer
}

// Close ends the use of the tree.
func (t *SourceTree) Close() error {
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Open opens a source. What is compressed, or comes from stdin, goes to a file without a name in the directory tmp.
func (s Source) Open(ctx context.Context, w World, stdin io.Reader, tmp string) (*SourceTree, error) {
	var t SourceTree
	var err error
	switch s.Transport {
	case exportDir:
		t.Tree = diskimage.NewDirTree(w.absolute(s.Path))
	default:
		err = t.openTarball(ctx, s.Path, w, stdin, tmp)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return &t, nil
}

func (t *SourceTree) openTarball(ctx context.Context, name string, w World, stdin io.Reader, tmp string) error {
	if name == "-" {
		return t.spool(ctx, stdin, "standard input", tmp)
	}
	f, err := os.Open(w.absolute(name))
	if err != nil {
		return err
	}
	t.files = append(t.files, f)
	plain, err := tarfile.IsPlain(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !plain || !info.Mode().IsRegular() {
		return t.spool(ctx, f, name, tmp)
	}
	if t.Tree, err = diskimage.NewTarTree(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// spool reads an archive to its end. If that comes too early, the error names the member where it does.
func (t *SourceTree) spool(ctx context.Context, r io.Reader, name, tmp string) error {
	f, size, err := tarfile.Spool(ctx, r, tmp)
	if f != nil {
		t.files = append(t.files, f)
	}
	if f != nil && errors.Is(err, io.ErrUnexpectedEOF) {
		_, where := diskimage.NewTarTree(f, size)
		return fmt.Errorf("decompress %s: %w (%v)", name, io.ErrUnexpectedEOF, where)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if t.Tree, err = diskimage.NewTarTree(f, size); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
