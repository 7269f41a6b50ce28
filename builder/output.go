// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// Modes of what a build makes for the user; the umask takes from them. An image may hold an /etc/shadow.
const (
	outputMode    = 0o666
	outputDirMode = 0o777
)

// Write writes all outputs of the build.
func (r *Result) Write(ctx context.Context) error {
	if err := r.checkPackages(); err != nil {
		return err
	}
	for _, s := range r.finalSteps() {
		r.x.Progress.Begin(s.title)
		if err := s.write(ctx); err != nil {
			return err
		}
	}
	return nil
}

// WriteAgain writes the disk image, in the format of one of its files, the live medium or the tarball into a directory,
// and returns the name of the file. name decides about the format if the build has several, and about the compression
// of a tarball. Other outputs are not written.
func (r *Result) WriteAgain(ctx context.Context, dir, name string) (string, error) {
	if err := r.checkPackages(); err != nil {
		return "", err
	}
	name = filepath.Join(dir, name)
	if r.Plan.ISO != nil {
		iso := *r.Plan.ISO
		iso.File = name
		return name, r.WriteISO(ctx, iso)
	}
	if r.Plan.Disk == nil {
		return name, r.WriteTarball(ctx, name)
	}
	d := *r.Plan.Disk
	chosen := d.Files[0]
	for _, f := range d.Files {
		if filepath.Ext(f.Name) == filepath.Ext(name) {
			chosen = f
		}
	}
	chosen.Name = name
	d.Image, d.Files, d.BlockMap, d.Artifacts = name, []ImageFile{chosen}, "", ""
	return name, r.WriteImage(ctx, &d)
}

// finalStep writes one output of a build.
type finalStep struct {
	title string
	write func(ctx context.Context) error
}

// finalSteps returns what writes the outputs, in this order.
func (r *Result) finalSteps() []finalStep {
	var all []finalStep
	add := func(wanted bool, write func(ctx context.Context) error, names ...string) {
		if wanted {
			all = append(all, finalStep{"write " + strings.Join(names, " and "), write})
		}
	}
	o, p := r.spec.o, r.Plan
	add(o.Pkglist, r.WritePackageList, packageList)
	add(p.Tarball != "", func(ctx context.Context) error { return r.WriteTarball(ctx, p.Tarball) }, outputTitle(p.Tarball))
	add(p.Squash != "", func(ctx context.Context) error { return r.WriteSquash(ctx, r.spec, p.Squash) }, p.Squash)
	if p.ISO != nil {
		add(true, func(ctx context.Context) error { return r.WriteISO(ctx, *p.ISO) }, p.ISO.File)
	}
	if p.Disk != nil {
		add(true, func(ctx context.Context) error { return r.WriteImage(ctx, p.Disk) }, p.Disk.fileNames()...)
	}
	var exports []string
	for _, e := range p.Exports {
		exports = append(exports, e.String())
	}
	add(len(exports) > 0, r.WriteExports, exports...)
	add(len(p.Descriptions) > 0, r.writeDescriptions, p.Descriptions...)
	return all
}

// WriteTarball writes the finished root file system to a tar archive, compressed as its name says, or to
// standard output. Files with large holes are sparse files in it. What is in
// directories that are mounted over at boot is left out, the directories are not. No time is later than that
// of the build.
func (r *Result) WriteTarball(ctx context.Context, name string) error {
	r.x.Progress.Message("write " + outputTitle(name))
	tree := r.tree(r.Rootfs)
	if name == StandardOutput {
		return tarfile.WriteSparse(ctx, r.x.Stdout, tree)
	}
	return diskimage.WriteFile(ctx, name, outputMode, func(f *os.File) (err error) {
		defer r.x.Progress.Sample("write", 0, progress.Bytes, func() int64 { return allocated([]*os.File{f}) })()
		w, err := tarfile.Compress(f, name, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		return tarfile.WriteSparse(ctx, w, tree)
	})
}

// tree is what an archive or a layer records of a root file system of the build, the finished one or an earlier state.
func (r *Result) tree(rootfs Rootfs) diskimage.Tree {
	tree := step.Cleaned(target.Tree(rootfs, rootfs.Root()), r.site.Resolver)
	return diskimage.Clamp(diskimage.WithoutContents(tree, mountPoints), r.lock.Time)
}

// packageList is the file that --pkglist makes, in the working directory.
const packageList = "dpkg.list"

// WritePackageList writes the names of all packages of the image, sorted, a line each.
func (r *Result) WritePackageList(ctx context.Context) error {
	var out bytes.Buffer
	p := r.site.Command("dpkg-query", "--show", "--showformat", "${Package}\n")
	if err := r.Rootfs.Run(ctx, p, nil, strings.NewReader(""), &out); err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	names := sortedSet(strings.Split(out.String(), "\n"))
	name := filepath.Join(r.x.Dir, packageList)
	r.unnamed = append(r.unnamed, name)
	r.x.Progress.Message("write " + name)
	return diskimage.WriteFile(ctx, name, outputMode, func(f *os.File) error {
		_, err := f.WriteString(strings.Join(slices.Concat(names, []string{""}), "\n"))
		return err
	})
}

// WrittenFiles are the outputs with their sizes, which are 0 for those that are not there and for directories.
func (s Spec) WrittenFiles() []progress.File {
	var files []progress.File
	formats := map[string]string{}
	for _, f := range s.ImageFiles() {
		formats[f.Name] = f.Format
	}
	for _, name := range s.Outputs() {
		file := progress.File{Name: name, Format: formats[name]}
		if name == s.o.Squash {
			file.Name = filepath.Join(name, SquashName)
		}
		var st unix.Stat_t
		if err := unix.Stat(file.Name, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			file.Size, file.Allocated = st.Size, st.Blocks*512 // st_blocks is in units of 512 bytes, see stat(2)
		}
		files = append(files, file)
	}
	return files
}

// Written are the files and directories of the host that a build writes, or may write, as the options name them.
func (s Spec) Written() []string {
	names := append(s.outputFiles(), packageList, step.DebootstrapLog)
	names = append(names, s.ArtifactDirs()...)
	if s.o.LockFile != "" {
		names = append(names, s.o.LockFile)
	}
	for _, e := range s.o.Exports {
		if e.Transport != transport.Docker && e.Transport != transport.Storage {
			names = append(names, e.Path)
		}
	}
	return names
}

// Exclusive are the names of the files and directories that no other build may write at the same time.
func (s Spec) Exclusive() []string {
	names := append(s.Outputs(), s.ArtifactDirs()...)
	if s.o.Pkglist {
		names = append(names, packageList)
	}
	for _, e := range s.o.Exports {
		switch e.Transport {
		case transport.Docker, transport.Storage, transport.OCI: // several images are there side by side
			names = append(names, e.String())
		case transport.Dir:
			names = append(names, e.Path)
		}
	}
	return names
}
