// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

const (
	// SquashName is the name of the file system in the directory of --squash.
	SquashName = "filesystem.squashfs"
	// leastSquash is less than any system that was built: a smaller file system is a failure that mksquashfs did not
	// notice.
	leastSquash = 1 * diskimage.MB
)

// Places in the toolbox while mksquashfs runs.
const (
	squashRoot = "/run/squash/root"
	squashWork = "/run/squash/work"
)

// WriteSquash writes the finished root file system to a directory for live media: filesystem.squashfs, the
// files of /boot beside it, and with UEFI the programs of the EFI system partition below efi. None of them
// gets its name before all are complete; others in the directory stay.
func (r *Result) WriteSquash(ctx context.Context, spec Spec, dir string) (err error) {
	r.x.Progress.Message("write " + filepath.Join(dir, SquashName))
	work, err := os.MkdirTemp(r.site.Tmp, "squash-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := makeSquash(ctx, r.site, r.x.Progress, r.Rootfs.Root(), work, leastSquash); err != nil {
		return err
	}
	sources, err := squashSources(r.Rootfs.Root(), work)
	if err != nil {
		return err
	}
	if spec.Options().UseUEFI && spec.bootRequest().SignedEFI() {
		list, err := squashEFI(r.Rootfs, spec)
		if err != nil {
			return err
		}
		for _, f := range list {
			sources["efi/"+f.To] = r.reader("/" + f.From)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		r.unnamed = append(r.unnamed, filepath.Join(dir, name))
	}
	return writeDirectory(ctx, dir, sources)
}

// squashEFI returns the programs of the EFI system partition that are complete without its disk. Among them is the one
// for machines with 64-bit processors and 32-bit firmware, if the release has it.
func squashEFI(f target.Files, spec Spec) ([]grub.EFIFile, error) {
	const platform32 = "i386-efi"
	vendor := strings.ToLower(string(spec.Release().Vendor))
	list, err := grub.EFISignedFiles(grub.EFIPlatform(spec.Options().Arch), vendor)
	if err != nil || spec.Options().Arch != "amd64" {
		return list, err
	}
	program := boot.MonolithicGRUB(platform32)
	switch there, err := target.Exists(f, program); {
	case err != nil:
		return nil, err
	case !there:
		return list, nil
	}
	removable, installed, err := grub.EFIPaths(platform32, vendor)
	from := strings.TrimPrefix(program, "/")
	return append(list, grub.EFIFile{From: from, To: removable}, grub.EFIFile{From: from, To: installed}), err
}

// squashSources are the file system that was made in work, and the files of /boot in the directory root.
func squashSources(root, work string) (map[string]func() (io.ReadCloser, error), error) {
	open := func(name string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return os.Open(name) }
	}
	sources := map[string]func() (io.ReadCloser, error){SquashName: open(filepath.Join(work, SquashName))}
	// /boot may be a symbolic link in a hostile tree.
	if info, err := os.Lstat(filepath.Join(root, "boot")); err != nil || !info.IsDir() {
		return sources, nil
	}
	entries, err := os.ReadDir(filepath.Join(root, "boot"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			sources[e.Name()] = open(filepath.Join(root, "boot", e.Name()))
		}
	}
	return sources, nil
}

// Squash makes the output of WriteSquash of a root file system that is there already: a directory, or an
// uncompressed tar archive, which is unpacked into a container first. Device nodes, which no container can
// make, are left out.
func (x *Executor) Squash(ctx context.Context, spec Spec, src Sources, directory string,
	archive io.Reader) (err error) {
	toolbox, err := x.toolbox(ctx, spec, src)
	if err != nil {
		return fmt.Errorf("make the toolbox: %w", err)
	}
	defer func() { err = errors.Join(err, toolbox.Close()) }()
	s := &step.Context{Toolbox: toolbox, Tmp: x.TempDir, Proxy: proxyEnviron(x.Environ), Log: x.Log,
		Out: step.NewTail(x.Output, spec.o.Mirror)}
	if archive != nil {
		unpacked, err := x.Engine.Scratch(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unpacked.Close()) }()
		x.Progress.Announce("unpack the archive")
		p := s.Command("tar", "--extract", "--numeric-owner", "--same-permissions", "--ignore-zeros",
			"--xattrs", "--xattrs-include=*", "--xattrs-exclude="+ownerxattr.Prefix+"*", "--exclude=./dev/*", "--exclude=dev/*",
			"--directory="+squashRoot)
		if err := toolbox.Run(ctx, p, []specs.Mount{target.Bind(unpacked.Root(), squashRoot)}, archive, s.Out); err != nil {
			return fmt.Errorf("unpack the archive: %w: %s", err, strings.TrimSpace(s.Out.String()))
		}
		directory = unpacked.Root()
	} else if toolbox.OwnerXattrs() {
		// Programs here would take such attributes of the user's own files for the owners: a copy has none.
		plain := withoutDevices(diskimage.WithoutContents(diskimage.NewDirTree(directory), mountPoints))
		directory = filepath.Join(x.TempDir, "squash-root")
		if err := x.unpackTree(ctx, plain, directory); err != nil {
			return fmt.Errorf("copy the directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	}
	out := spec.Options().Squash
	x.Progress.Announce("write " + filepath.Join(out, SquashName))
	exclude := "^" + regexp.QuoteMeta(ownerxattr.Prefix)
	if err := makeSquash(ctx, s, x.Progress, directory, x.TempDir, 0, "-xattrs-exclude", exclude); err != nil {
		return err
	}
	sources, err := squashSources(directory, x.TempDir)
	if err != nil {
		return err
	}
	return writeDirectory(ctx, out, sources)
}

// reader opens a file of the root file system.
func (r *Result) reader(name string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		data, err := r.Rootfs.ReadFile(name)
		return io.NopCloser(strings.NewReader(string(data))), err
	}
}

// makeSquash makes work/filesystem.squashfs of a directory, with as many threads as this program may use, and
// checks it: it has at least the size least. What is in directories that are mounted over at boot is left out. options
// are more of mksquashfs.
func makeSquash(ctx context.Context, s *step.Context, report *progress.Reporter, root, work string,
	least diskimage.Size, options ...string) error {
	image := squashWork + "/" + SquashName
	args := append(filesystem.Mksquashfs(image, squashRoot, "xz", options...), "-wildcards", "-e")
	for _, dir := range mountPoints {
		args = append(args, dir+"/*", dir+"/.*")
	}
	mounts := []specs.Mount{target.Bind(root, squashRoot, "ro"), target.Bind(work, squashWork)}
	run := func(args []string, out io.Writer) error {
		return s.Toolbox.Run(ctx, s.Command(args...), mounts, strings.NewReader(""), out)
	}
	s.Out.Reset()
	stop := report.Sample("compress", 0, progress.Bytes, func() int64 {
		info, err := os.Stat(filepath.Join(work, SquashName))
		if err != nil {
			return 0 // not begun
		}
		return info.Size()
	})
	err := run(args, s.Out)
	stop()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.Out.String()))
	}
	info, err := os.Stat(filepath.Join(work, SquashName))
	if err != nil {
		return err
	}
	if size := diskimage.Size(info.Size()); size < least {
		return fmt.Errorf("%s has only %d bytes: something is missing in the root file system", SquashName, size)
	}
	s.Out.Reset()
	// Listing everything reads all that describes files.
	if err := run([]string{"unsquashfs", "-lln", image}, io.Discard); err != nil {
		return fmt.Errorf("verify %s: %w", SquashName, err)
	}
	return nil
}

// writeDirectory writes files into a directory, which is made if it is missing. Names may have directories in them.
// After an error, no directory is left that was made.
func writeDirectory(ctx context.Context, dir string, sources map[string]func() (io.ReadCloser, error)) (err error) {
	var names, paths, made []string
	defer func() {
		for i := len(made) - 1; i >= 0 && err != nil; i-- {
			if removeErr := os.Remove(made[i]); !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
	}()
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, name)
		missing, err := makeDirectories(filepath.Dir(path))
		made = append(made, missing...)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	return diskimage.WriteFiles(ctx, paths, outputMode, func(files []*os.File) error {
		for i, name := range names {
			r, err := sources[name]()
			if err != nil {
				return err
			}
			_, err = io.Copy(files[i], r)
			if err := errors.Join(err, r.Close()); err != nil {
				return fmt.Errorf("write %s: %w", paths[i], err)
			}
		}
		return nil
	})
}

// makeDirectories makes a directory and those above it, and returns the ones that were missing, the topmost first.
func makeDirectories(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if made, err = makeDirectories(filepath.Dir(dir)); err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, outputDirMode); err != nil {
		return made, err
	}
	return append(made, dir), nil
}
