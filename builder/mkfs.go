package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mkfsProgram makes a file system of a directory. It runs in the toolbox, so that it is of the release that is built and
// makes what its kernel and its fsck understand.
type mkfsProgram struct {
	// pkg is Debian's package of the program; the target gets it as well, for its fsck and its initramfs.
	pkg string
	// args is the command line that writes to the file image, which has its length, what is in the directory root.
	args func(f diskimage.Filesystem, image, root string) []string
}

// mkfsPrograms are the file systems that are not written by us, by type.
var mkfsPrograms = map[string]mkfsProgram{
	"btrfs": {"btrfs-progs", func(f diskimage.Filesystem, image, root string) []string {
		args := []string{"mkfs.btrfs", "--quiet", "--force", "--uuid", f.UUID.String(), "--rootdir", root}
		if f.Label != "" {
			args = append(args, "--label", f.Label)
		}
		return append(args, image)
	}},
}

// mkfsPackages are the packages of the programs for the file systems of a disk.
func (s Spec) mkfsPackages() []string {
	var packages []string
	if p, ok := mkfsPrograms[s.o.Roottype]; ok && s.o.Image != "" {
		packages = append(packages, p.pkg)
	}
	if p, ok := mkfsPrograms[s.o.Boottype]; ok && s.o.Image != "" && s.o.Bootsize > 0 {
		packages = append(packages, p.pkg)
	}
	return packages
}

// Places in the toolbox while mkfs runs.
const (
	mkfsRoot = "/run/mkfs/root"
	mkfsWork = "/run/mkfs/work"
)

// programVolume is a file system that a program will write. Where its files will be is not known.
type programVolume struct {
	site    *site
	program mkfsProgram
	fs      diskimage.Filesystem
	size    diskimage.Size
	// dir is the directory that becomes the file system; directories below it are taken for empty if they are in covered.
	dir     string
	covered []string
}

// Extents implements diskimage.Volume.
func (v *programVolume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("place of %s on %s: %w", name, v.fs.Type, fs.ErrNotExist)
}

// Write implements diskimage.Volume: the program writes to a sparse file, whose data are then shared with dst where the
// file systems below can do that, and copied where they cannot.
func (v *programVolume) Write(ctx context.Context, dst io.WriterAt) (err error) {
	work, err := os.MkdirTemp(v.site.tmp, "mkfs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image, err := os.Create(filepath.Join(work, "image"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if err := image.Truncate(int64(v.size)); err != nil {
		return err
	}
	mounts := []specs.Mount{bind(v.dir, mkfsRoot, "ro"), bind(work, mkfsWork)}
	for i, name := range v.covered {
		empty := filepath.Join(work, fmt.Sprintf("empty-%d", i))
		if err := os.Mkdir(empty, 0o755); err != nil {
			return err
		}
		if info, err := os.Lstat(filepath.Join(v.dir, name)); err == nil && info.IsDir() {
			mounts = append(mounts, bind(empty, mkfsRoot+"/"+name, "ro"))
		}
	}
	v.site.out.reset()
	p := v.site.command(v.program.args(v.fs, mkfsWork+"/image", mkfsRoot)...)
	if err := v.site.toolbox.Run(ctx, p, mounts, strings.NewReader(""), v.site.out); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(v.site.out.String()))
	}
	return copyData(ctx, dst, image, int64(v.size))
}

// copyData copies what is not a hole in src.
func copyData(ctx context.Context, dst io.WriterAt, src *os.File, size int64) error {
	const most = 1 << 20
	buf := make([]byte, most)
	to, base, shared := diskimage.FileOf(dst)
	for end := int64(0); ; {
		start, err := unix.Seek(int(src.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && start >= size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for data: %w", err)
		}
		if end, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("look for a hole: %w", err)
		}
		end = min(end, size)
		if shared {
			clone := unix.FileCloneRange{
				Src_fd: int64(src.Fd()), Src_offset: uint64(start), Src_length: uint64(end - start), Dest_offset: uint64(base + start),
			}
			if shared = unix.IoctlFileCloneRange(to, &clone) == nil; shared {
				continue
			}
		}
		for at := start; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(int64(len(buf)), end-at)]
			if _, err := src.ReadAt(part, at); err != nil {
				return err
			}
			if _, err := dst.WriteAt(part, at); err != nil {
				return err
			}
			at += int64(len(part))
		}
	}
}
