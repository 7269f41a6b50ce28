package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mkfsProgram makes a file system of a directory. It runs in the toolbox, so that it is of the release that is built and
// makes what its kernel and its fsck understand.
//
// Device nodes are not in these file systems: a container has none, and Debian's kernels load the drivers from an
// initramfs, which mounts a devtmpfs.
type mkfsProgram struct {
	traits // pkg has the program, too
	// args is the command line that writes to the file image, which has its length, what is in the directory root.
	args func(f diskimage.Filesystem, image, root string) []string
	// faithful, if set, is the first release of Debian whose program keeps every attribute. The toolbox of an older one
	// is made of this one.
	faithful string
	// acls, if set, deals with access control lists, which the program leaves out.
	acls func(ctx context.Context, v *programVolume, work string, found []diskimage.Entry) error
	// readOnly says that the file system never changes, and is as large as its content.
	readOnly bool
	// noUUID says that it has no ID of its own.
	noUUID bool
}

// mkfsPrograms are the file systems that are not written by us, by type.
var mkfsPrograms = map[string]mkfsProgram{
	"btrfs": {
		traits: traits{pkg: "btrfs-progs", debian: "wheezy", ubuntu: "precise"},
		args: func(f diskimage.Filesystem, image, root string) []string {
			args := []string{"mkfs.btrfs", "--quiet", "--force", "--uuid", f.UUID.String(), "--rootdir", root}
			if f.Label != "" {
				args = append(args, "--label", f.Label)
			}
			return append(args, image)
		},
	},
	// Compressed with what each kernel that reads it has.
	"erofs": {
		traits: traits{pkg: "erofs-utils", debian: "bookworm", ubuntu: "jammy"}, readOnly: true,
		args: func(f diskimage.Filesystem, image, root string) []string {
			return []string{"mkfs.erofs", "--quiet", "-zlz4hc", "-U", f.UUID.String(), image, root}
		},
	},
	// zstd at level 9: of trixie's /usr/bin, 30 MB, it makes 12.3 MB in 0.8 s of processor time; 15, the default, 11.5 MB in
	// 5.7 s, and 3 makes 13.2 MB in 0.2 s.
	"squashfs": {
		traits: traits{pkg: squashTools, debian: "buster", ubuntu: "bionic"}, readOnly: true, noUUID: true, acls: squashfsACLs,
		args: func(_ diskimage.Filesystem, image, root string) []string {
			return []string{
				"mksquashfs", root, image, "-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "9",
				"-processors", fmt.Sprint(runtime.GOMAXPROCS(0)),
			}
		},
	},
	// Before xfsprogs 6.17 mkfs.xfs could only follow a list of files that has no times, links and sticky bits.
	"xfs": {
		traits:   traits{pkg: "xfsprogs", debian: "buster", ubuntu: "bionic", least: 300 * diskimage.MiB, features: xfsKernel},
		faithful: "forky", acls: xfsACLs,
		args: func(f diskimage.Filesystem, image, root string) []string {
			return []string{
				"mkfs.xfs", "-q", "-f", "-c", "options=/usr/share/xfsprogs/mkfs/lts_" + f.Features + ".conf", "-m", "uuid=" + f.UUID.String(),
				"-s", fmt.Sprintf("size=%d", max(f.SectorSize, diskimage.SectorSize)), "-p", root, image,
			}
		},
	},
}

// xfsKernel is the long-term kernel whose features mkfs.xfs used when the kernel of a release was new. GRUB of the release
// reads them, too.
func xfsKernel(codename string) string {
	if r, ok := debian.LookupRelease(codename); ok {
		switch {
		case r.Since("trixie", "plucky"):
		case r.Since("bookworm", "noble"):
			return "6.1"
		case r.Since("bullseye", "jammy"):
			return "5.10"
		default:
			return "4.19"
		}
	}
	return "6.12"
}

// mkfsPrograms are the programs for the file systems of a disk.
func (s Spec) mkfsPrograms() []mkfsProgram {
	var programs []mkfsProgram
	if p, ok := mkfsPrograms[s.o.Roottype]; ok && s.o.Image != "" {
		programs = append(programs, p)
	}
	if p, ok := mkfsPrograms[s.o.Boottype]; ok && s.o.Image != "" && s.o.Bootsize > 0 {
		programs = append(programs, p)
	}
	return programs
}

// mkfsPackages are the packages of these programs.
func (s Spec) mkfsPackages() []string {
	var packages []string
	for _, p := range s.mkfsPrograms() {
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
	// made is the finished file system, if the size of the disk had to wait for it.
	made *os.File
}

// Extents implements diskimage.Volume.
func (v *programVolume) Extents(name string) ([]diskimage.Extent, error) {
	return nil, fmt.Errorf("place of %s on %s: %w", name, v.fs.Type, fs.ErrNotExist)
}

// Write implements diskimage.Volume: the data of the file that the program writes are shared with dst where the file
// systems below can do that, and copied where they cannot.
func (v *programVolume) Write(ctx context.Context, dst io.WriterAt) (err error) {
	made := v.made
	if made == nil {
		if made, err = v.make(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, made.Close()) }()
	}
	info, err := made.Stat()
	if err != nil {
		return err
	}
	if info.Size() > int64(v.size) {
		return &diskimage.NoSpaceError{What: "bytes", Needed: uint64(info.Size()), Available: uint64(v.size), BlockSize: 1}
	}
	return diskimage.CopyFile(ctx, dst, made)
}

// make has the program write to a sparse file, which goes when the caller closes it: it has no name any more.
func (v *programVolume) make(ctx context.Context) (made *os.File, err error) {
	work, err := os.MkdirTemp(v.site.tmp, "mkfs-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image := filepath.Join(work, "image")
	if err := v.create(image); err != nil {
		return nil, err
	}
	mounts := []specs.Mount{target.Bind(v.dir, mkfsRoot, "ro"), target.Bind(work, mkfsWork)}
	for i, name := range v.covered {
		empty := filepath.Join(work, fmt.Sprintf("empty-%d", i))
		if there, err := emptyCopy(empty, filepath.Join(v.dir, name)); err != nil {
			return nil, err
		} else if there {
			mounts = append(mounts, target.Bind(empty, mkfsRoot+"/"+name, "ro"))
		}
	}
	if err := v.run(ctx, mounts, "", v.program.args(v.fs, mkfsWork+"/image", mkfsRoot)...); err != nil {
		return nil, err
	}
	if err := v.amend(ctx, work); err != nil {
		return nil, err
	}
	// The program may have made a new file in place of the one that it was given.
	return os.Open(image)
}

// create makes the file for a file system, as long as that will be.
func (v *programVolume) create(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if !v.program.readOnly {
		err = file.Truncate(int64(v.size))
	}
	return errors.Join(err, file.Close())
}

// run runs a program of the toolbox.
func (v *programVolume) run(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) error {
	v.site.out.reset()
	p := v.site.command(args...)
	if len(v.site.epoch) > 0 {
		p.Env = append(p.Env, "DETERMINISTIC_SEED=1") // libxfs: inodes get the same generation numbers each time
	}
	if err := v.site.toolbox.Run(ctx, p, mounts, strings.NewReader(stdin), v.site.out); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(v.site.out.String()))
	}
	return nil
}

// emptyCopy makes a directory with the permissions and times of another, if that is there.
func emptyCopy(name, original string) (bool, error) {
	info, err := os.Lstat(original)
	if err != nil || !info.IsDir() {
		return false, nil
	}
	if err := os.Mkdir(name, 0o755); err != nil {
		return false, err
	}
	if err := os.Chmod(name, info.Mode()); err != nil {
		return false, err
	}
	return true, os.Chtimes(name, info.ModTime(), info.ModTime())
}
