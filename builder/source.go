// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// Source is where a root file system comes from that is there already.
type Source struct {
	// Transport is what stands before the colon: "tar", "dir", "oci"; empty for a file that may be a disk image or a
	// tarball, as its content says.
	Transport string
	// Path is the file or directory; "-" is standard input.
	Path string
	// Name is the tag of an image in a layout or archive, or the full reference of one in a registry; empty for none.
	Name string
}

// sourceForms are the sources of --from, for its help and its errors.
var sourceForms = []string{
	"FILE", "-", "DIRECTORY", "disk:FILE", "tar:FILE", "dir:DIRECTORY", "oci:DIRECTORY[:TAG]", "oci-archive:FILE[:TAG]",
	"docker-archive:FILE[:REF]",
	"docker://REGISTRY/REPO[:TAG]",
}

// SourceForms lists what a source looks like.
func SourceForms() string { return strings.Join(sourceForms, ", ") }

// ParseSource reads a source. A path without a transport is a directory if it is one, and a file else. Of
// a container image the path ends at its first colon.
func ParseSource(text string, w World) (Source, error) {
	kind, rest, ok := strings.Cut(text, ":")
	if text == "-" || !ok || strings.Contains(kind, "/") {
		kind, rest = transport.File, text
		if info, err := w.Stat(w.absolute(text)); text != "-" && err == nil && info.IsDir() {
			kind = transport.Dir
		}
	}
	s := Source{Transport: kind, Path: rest}
	switch kind {
	case transport.File, transport.Disk, transport.Tar, transport.Dir:
	case transport.Containerfile:
		return parseContainerSource(rest, w)
	case transport.OCI, transport.OCIArchive, transport.DockerArchive:
		s.Path, s.Name, _ = strings.Cut(rest, ":")
	case transport.Docker:
		return parseRegistry(text, rest)
	case transport.Storage:
		return parseStored(text, rest)
	default:
		if info, err := w.Stat(w.absolute(text)); err == nil && !info.IsDir() {
			return Source{Transport: transport.File, Path: text}, nil
		}
		return Source{}, fmt.Errorf("%q is none of %s", transport.Redact(text), SourceForms())
	}
	if s.Path == "" {
		return Source{}, fmt.Errorf("%q names no file or directory", transport.Redact(text))
	}
	if s.Path == "-" && kind != transport.Dir && kind != transport.OCI {
		return s, nil
	}
	isDir := kind == transport.Dir || kind == transport.OCI
	info, err := w.Stat(w.absolute(s.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Source{}, fmt.Errorf("there is no %q: choose from %s", s.Path, SourceForms())
	case err != nil:
		return Source{}, err
	case isDir && !info.IsDir():
		return Source{}, fmt.Errorf("%q is not a directory, as %s asks for", s.Path, kind)
	case !isDir && info.IsDir():
		return Source{}, fmt.Errorf("%q is a directory, and no file as %s asks for", s.Path, kind)
	}
	return s, nil
}

// parseRegistry reads what follows "docker:". A name without a registry is one of docker's own, as everywhere.
func parseRegistry(text, rest string) (Source, error) {
	name, slashes := strings.CutPrefix(rest, "//")
	if !slashes {
		return Source{}, fmt.Errorf("%q: a registry is written docker://REGISTRY/REPO:TAG", transport.Redact(text))
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return Source{}, fmt.Errorf("%q is no name of an image: %w", transport.Redact(name), err)
	}
	return Source{Transport: transport.Docker, Name: reference.TagNameOnly(named).String()}, nil
}

// parseStored reads what follows "containers-storage:": the name or ID of an image, and before that, in brackets, the
// directory of its store if it is not that of the caller's podman.
func parseStored(text, rest string) (Source, error) {
	name := rest
	if strings.HasPrefix(rest, "[") {
		spec, after, closed := strings.Cut(rest[1:], "]")
		_, root, named := strings.Cut(spec, "@")
		if !named {
			root = spec
		}
		if !closed || !path.IsAbs(root) {
			return Source{}, fmt.Errorf("%q: a store is written [DRIVER@/DIRECTORY]", text)
		}
		name = after
	}
	if _, err := reference.ParseAnyReference(name); err != nil {
		return Source{}, fmt.Errorf("%q is no name of an image: %w", name, err)
	}
	return Source{Transport: transport.Storage, Name: rest}, nil
}

// Reference is the image in a registry or a container store in the words of containers-transports(5); empty for others.
func (s Source) Reference() string {
	switch s.Transport {
	case transport.Docker:
		return transport.Docker + "://" + s.Name
	case transport.Storage:
		return transport.Storage + ":" + s.Name
	}
	return ""
}

// IsStored reports whether the image is in a container store of this machine.
func (s Source) IsStored() bool { return s.Transport == transport.Storage }

// LayoutSource is the only image of an OCI image layout, which an image of a registry or store was copied to.
func LayoutSource(dir string) Source { return Source{Transport: transport.OCI, Path: dir} }

// NeedsNamespace reports whether the owners of the files are those that a user namespace shows.
func (s Source) NeedsNamespace() bool { return s.Transport == transport.Dir || s.IsStored() }

// Platform is what container images call an architecture of Debian, and its variant.
func Platform(arch string) (name, variant string) {
	p := platform(debian.Arch{Name: arch})
	return p.Architecture, p.Variant
}

// SourceTree is an open source.
type SourceTree struct {
	// Tree holds the files of the system; nil if SystemErr says why it cannot be read.
	diskimage.Tree
	// Disk is what is on the disk that the source is an image of, and Format that of the image; nil and empty for
	// other sources.
	Disk   *imagetree.Disk
	Format string
	// MountPoints are those of the disk's other file systems, whose files are in the tree.
	MountPoints []string
	// SystemErr is set only with SourceOptions.AnyDisk.
	SystemErr error
	// Config and ImageID are those of a container image; ImageID is empty for other sources.
	Config  imgspec.ImageConfig
	ImageID digest.Digest
	files   []io.Closer
}

// Warnings name what a container image, which is called name, says that has no effect on a disk.
func (t *SourceTree) Warnings(name string) []string { return configWarnings(name, t.Config) }

// Close ends the use of the tree.
func (t *SourceTree) Close() error {
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// SourceOptions say how a source is opened.
type SourceOptions struct {
	World World
	// Stdin is what "-" stands for.
	Stdin io.Reader
	// TempDir is for files without names, which hold what is compressed or comes from Stdin.
	TempDir string
	// Arch decides between images for several architectures.
	Arch string
	// AnyDisk opens also a disk without a system that can be read.
	AnyDisk bool
}

// Open opens a source.
func (s Source) Open(ctx context.Context, o SourceOptions) (*SourceTree, error) {
	t := &SourceTree{}
	err := t.open(ctx, s, o)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *SourceTree) open(ctx context.Context, s Source, o SourceOptions) error {
	choice := ociimage.Choice{Name: s.Name, Platform: platform(debian.Arch{Name: o.Arch}), TempDir: o.TempDir}
	switch s.Transport {
	case transport.Containerfile:
		return errors.New("a Containerfile is built by vmdebootstrap assemble only")
	case transport.Dir:
		// The user's own files: no attribute of them says whose they are.
		t.Tree = diskimage.NewDirTree(o.World.absolute(s.Path))
		return nil
	case transport.OCI:
		image, err := ociimage.OpenLayout(ctx, o.World.absolute(s.Path), choice)
		return t.layers(s, image, err)
	}
	f, size, err := t.archive(ctx, s.Path, o)
	if err != nil {
		return err
	}
	switch s.Transport {
	case transport.OCIArchive:
		image, err := ociimage.OpenArchive(ctx, f, size, choice)
		return t.layers(s, image, err)
	case transport.DockerArchive:
		image, err := ociimage.OpenDockerArchive(ctx, f, size, choice)
		return t.layers(s, image, err)
	}
	found := s.Transport
	if found == transport.File {
		if found, err = contentOf(f, size); err != nil {
			return err
		}
	}
	if found == transport.Disk {
		return t.disk(ctx, s, f, o)
	}
	switch t.Tree, err = diskimage.NewTarTree(f, size); {
	case err != nil && found == transport.File:
		return fmt.Errorf("%s is neither a disk image nor a tar archive, compressed or not", s.Path)
	case errors.Is(err, diskimage.ErrNotTar):
		return fmt.Errorf("%s is no tar archive, compressed or not", s.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// contentOf returns the transport of what a file holds; File if it is neither a disk nor an archive of the programs
// that mark theirs, as all do since 1988.
func contentOf(f *os.File, size int64) (string, error) {
	const tarMagic, tarMagicAt = "ustar", 257
	magic := make([]byte, len(tarMagic))
	if _, err := f.ReadAt(magic, tarMagicAt); errors.Is(err, io.EOF) {
		return transport.File, nil
	} else if err != nil {
		return "", err
	}
	if string(magic) == tarMagic {
		return transport.Tar, nil
	}
	name, err := format.Detect(f)
	if err == nil && (name != format.Raw || imagetree.Holds(f, diskimage.Size(size))) {
		return transport.Disk, nil
	}
	return transport.File, err
}

// disk opens the system on a disk.
func (t *SourceTree) disk(ctx context.Context, s Source, f *os.File, o SourceOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Path, err)
		}
	}()
	if t.Format, err = format.Detect(f); err != nil {
		return err
	}
	disk, err := format.Open(f)
	if err != nil {
		return err
	}
	t.Disk, err = imagetree.ReadDisk(diskimage.CancelReaderAt(ctx, disk), diskimage.Size(disk.Size()))
	if err != nil {
		return err
	}
	system, err := t.Disk.System()
	switch {
	case err != nil && o.AnyDisk:
		t.SystemErr = err
		return nil
	case err != nil:
		return err
	}
	t.Tree, t.MountPoints = system, system.MountPoints()
	return nil
}

// layers puts the layers of an image together.
func (t *SourceTree) layers(s Source, image *ociimage.Reading, err error) error {
	if err == nil {
		t.files = append(t.files, image)
		t.Config, t.ImageID = image.Config, image.ID
		t.Tree, err = diskimage.NewLayerTree(image.Layers...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// archive opens an archive in its plain form. If a compressed one ends too early, the error names the member
// where it does.
func (t *SourceTree) archive(ctx context.Context, name string, o SourceOptions) (*os.File, int64, error) {
	var in io.ReadCloser
	if name == "-" {
		in = cancellable(ctx, o.Stdin, func() error { return nil })
		t.files = append(t.files, in)
	} else {
		file, opened, err := OpenArchive(ctx, o.World.absolute(name))
		if err != nil {
			return nil, 0, err
		}
		in = opened
		t.files = append(t.files, in)
		if file != nil {
			if plain, err := tarfile.IsPlain(file); err != nil {
				return nil, 0, err
			} else if plain {
				size, err := file.Seek(0, io.SeekEnd) // of a block device as well
				return file, size, err
			}
		}
	}
	f, size, err := tarfile.Spool(ctx, in, o.TempDir)
	if f != nil {
		t.files = append(t.files, f)
	}
	switch {
	case f != nil && errors.Is(err, io.ErrUnexpectedEOF):
		if _, where := diskimage.NewTarTree(f, size); where != nil {
			err = fmt.Errorf("%w (%w)", io.ErrUnexpectedEOF, where)
		}
		return nil, 0, fmt.Errorf("decompress %s: %w", name, err)
	case err != nil:
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	return f, size, nil
}

// OpenArchive opens an archive or a disk image: a regular file or block device, or a pipe, whose reading ends with the
// context. file is nil for a pipe.
func OpenArchive(ctx context.Context, name string) (file *os.File, in io.ReadCloser, err error) {
	// The opening of a named pipe would wait for its writer.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.Mode().IsRegular(), info.Mode().Type() == os.ModeDevice:
		return f, f, nil
	case info.Mode()&os.ModeNamedPipe != 0:
		if err = unix.SetNonblock(int(f.Fd()), false); err == nil {
			return nil, cancellable(ctx, writtenPipe{f}, f.Close), nil
		}
	default:
		err = fmt.Errorf("open %s: it is neither a regular file nor a pipe", name)
	}
	return nil, nil, errors.Join(err, f.Close())
}

// writtenPipe is a named pipe that was opened without waiting for its writer. Until there is one it would be
// at its end.
type writtenPipe struct{ file *os.File }

func (p writtenPipe) Read(b []byte) (int, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(p.file.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if err == nil {
			return p.file.Read(b)
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("wait for the writer of a pipe: %w", err)
		}
	}
}

// cancellable is a reader that does not wait any longer when a context ends; done is called at the end of in.
// The wait itself goes on in the background then, for as long as the program lives.
func cancellable(ctx context.Context, in io.Reader, done func() error) io.ReadCloser {
	out, writer := io.Pipe()
	go func() {
		_, err := io.Copy(writer, in)
		writer.CloseWithError(errors.Join(err, done()))
	}()
	stop := context.AfterFunc(ctx, func() { writer.CloseWithError(context.Cause(ctx)) })
	return cancelled{out, stop}
}

// cancelled is the end of it that is read.
type cancelled struct {
	*io.PipeReader
	stop func() bool
}

func (c cancelled) Close() error {
	c.stop()
	return c.PipeReader.Close()
}
