// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/bmap"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// assembler puts a finished root file system on a disk.
type assembler struct {
	report *progress.Reporter
	// tree is the root file system, and Files are the same by name.
	tree diskimage.Tree
	Files
	programs
}

// programs is what an assembler cannot do by itself.
type programs interface {
	// SyslinuxFile and grubImage are those of bootSource.
	SyslinuxFile(ctx context.Context, name string) ([]byte, error)
	GRUBImage(ctx context.Context, d boot.Disk, platform string) ([]byte, error)
	// programVolume is a partition that a program fills.
	programVolume(d Disk, p diskimage.Partition) *filesystem.Volume
}

// WriteImage writes the finished root file system to the plan's disk image, in each of its formats. The files get their
// names when all are complete.
func (r *Result) WriteImage(ctx context.Context, planned *Disk) error {
	written, err := r.assembler().write(ctx, *planned)
	r.disk, r.unnamed = &written, append(r.unnamed, written.Update...)
	return err
}

// assembler writes the files of the build, none of them later than the build itself: with SOURCE_DATE_EPOCH the same
// image results each time, whichever of its steps ran again.
func (r *Result) assembler() assembler {
	tree := diskimage.Clamp(target.Tree(r.Rootfs, r.Rootfs.Root()), r.lock.Time)
	return assembler{report: r.x.Progress, tree: tree, Files: r.Rootfs, programs: r}
}

// write writes the disk image, and returns it with its final size.
func (a assembler) write(ctx context.Context, planned Disk) (d Disk, err error) {
	planned = planned.withEnrolmentKey()
	d, root, err := a.sized(ctx, planned)
	if err != nil {
		return d, a.sizeError(ctx, planned, fmt.Errorf("size of %s: %w", planned.Image, err))
	}
	if root != nil {
		defer func() { err = errors.Join(err, root.Close()) }()
	}
	a.report.Message(fmt.Sprintf("write %s (%s)", strings.Join(d.fileNames(), " and "), d.title()))
	image := diskimage.Image{Volumes: map[int]diskimage.Volume{}}
	var v verified
	if d.verifies() {
		d, v, err = a.verify(ctx, d, root)
		if v.root != nil && v.root != root {
			defer func() { err = errors.Join(err, v.root.Close()) }()
		}
		if err != nil {
			return d, a.sizeError(ctx, planned, err)
		}
		tree, _ := d.Layout.Partition(diskimage.RoleRootVerity)
		image.Volumes[d.Root().Number], image.Volumes[tree.Number] = v.volume, v.tree
	}
	boot, err := d.Loader.Prepare(ctx, d.Disk, a)
	if err != nil {
		return d, fmt.Errorf("prepare %s: %w", d.Loader, err)
	}
	image.Layout = d.Layout
	if image.Blobs, err = a.blobs(d); err != nil {
		return d, err
	}
	for _, p := range d.Layout.Partitions {
		if _, ok := image.Volumes[p.Number]; ok {
			continue
		}
		kind := filesystem.Lookup(p.Filesystem.Type)
		if kind.Program != nil {
			volume := a.programVolume(d, p)
			if p.Role == diskimage.RoleRoot {
				volume.Made = root
			}
			if image.Volumes[p.Number], err = d.encrypted(p, volume); err != nil {
				return d, err
			}
			continue
		}
		if kind.Formatter == nil {
			continue // the BIOS boot partition holds no file system
		}
		if p.Role == diskimage.RoleSwap && d.Root().LUKS != uuid.Nil {
			continue // each boot makes a swap area with another key
		}
		tree, err := d.tree(p, a.tree, boot.Files[p.Number])
		if err != nil {
			return d, fmt.Errorf("%s of %s: %w", p, d.Image, err)
		}
		volume, err := kind.Formatter.Plan(filesystemSize(p), p.Filesystem, tree)
		if err != nil {
			err = fmt.Errorf("%s of %s: %w", p, d.Image, err)
			if p.Role == diskimage.RoleRoot {
				err = a.sizeError(ctx, planned, err)
			}
			return d, err
		}
		if image.Volumes[p.Number], err = d.encrypted(p, volume); err != nil {
			return d, err
		}
	}
	if boot.Patches != nil {
		if image.Patches, err = boot.Patches(image.Volumes); err != nil {
			return d, fmt.Errorf("install %s: %w", d.Loader, err)
		}
	}
	if err := d.write(ctx, image, a.report); err != nil {
		return d, a.sizeError(ctx, planned, err)
	}
	if d.Artifacts == "" {
		return d, nil
	}
	esp, _ := d.Layout.Partition(diskimage.RoleESP)
	artifacts, err := d.artifacts(root, v.tree, boot.Files[esp.Number])
	if err != nil {
		return d, err
	}
	d.Update, err = a.writeArtifacts(ctx, d.Artifacts, artifacts)
	return d, err
}

// SizeError says that a disk is too small for its content.
type SizeError struct {
	// Size is what --size gave, and Least is what --size=auto --free=0 gives, which leaves ext4 its reserved blocks.
	Size, Least diskimage.Size
	// Err is the error of what found no room.
	Err error
}

func (e *SizeError) Error() string {
	text := fmt.Sprintf("%s is too small for the content; %s is enough", e.Size, e.Least)
	if _, ok := errors.AsType[*diskimage.NoSpaceError](e.Err); ok {
		return text // the blocks of a file system help nobody
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

func (e *SizeError) Unwrap() error { return e.Err }

// sizeError returns a problem of --size, a *SizeError, in place of an error that comes of a disk that is too small for
// its root file system, and any other error as it is. What programs that make file systems say of that is their own
// matter, so the content is measured.
func (a assembler) sizeError(ctx context.Context, planned Disk, err error) error {
	_, noSpace := errors.AsType[*diskimage.NoSpaceError](err)
	program := filesystem.Lookup(planned.Root().Filesystem.Type).Program != nil
	if planned.Auto || !noSpace && !program || ctx.Err() != nil {
		return err
	}
	auto := planned
	auto.Auto, auto.Free, auto.Request.Size = true, Space{}, autoSize
	least, root, leastErr := a.sized(ctx, auto)
	if root != nil {
		leastErr = errors.Join(leastErr, root.Close())
	}
	if leastErr != nil || least.Layout.Size <= planned.Layout.Size {
		return err
	}
	return &problem.Problem{Flag: "--size", Err: &SizeError{planned.Request.Size, least.Layout.Size, err}}
}

// SyslinuxFile reads a file of the toolbox.
func (r *Result) SyslinuxFile(_ context.Context, name string) ([]byte, error) {
	return r.Toolbox.ReadFile(name)
}

// GRUBImage has the target's own program make it.
func (r *Result) GRUBImage(ctx context.Context, d boot.Disk, platform string) ([]byte, error) {
	return boot.MakeGRUBImage(ctx, r.site, d, platform)
}

// programVolume is a partition that a program fills. The files of boot loaders are never on one: the rules see to that.
func (r *Result) programVolume(d Disk, p diskimage.Partition) *filesystem.Volume {
	v := d.programVolume(r.site, r.Rootfs.Root(), p)
	if r.lock.SeedFixed {
		v.Latest = r.lock.Time
	}
	return v
}

// programVolume is a partition that a program makes of the root file system in the directory root.
func (d Disk) programVolume(s *step.Context, root string, p diskimage.Partition) *filesystem.Volume {
	v := &filesystem.Volume{Tools: s.Tools(), Filesystem: p.Filesystem, Size: filesystemSize(p), Dir: root}
	if p.Role == diskimage.RoleBoot {
		v.Dir, v.EmptyDirs = filepath.Join(v.Dir, d.BootMount), []string{"efi"}
		return v
	}
	v.EmptyDirs = d.elsewhere()
	return v
}

// bootDir is the directory of the root file system that the partition of --bootsize holds.
func (d Disk) bootDir() string { return strings.TrimPrefix(d.BootMount, "/") }

// elsewhere are the directories of the root file system whose contents are not in it.
func (d Disk) elsewhere() []string {
	dirs := slices.Clone(mountPoints)
	for _, p := range d.Layout.Partitions {
		switch p.Role {
		case diskimage.RoleBoot:
			dirs = append(dirs, d.bootDir())
		case diskimage.RoleESP:
			dirs = append(dirs, "boot/efi")
		}
	}
	return dirs
}

// sized gives a disk of --size=auto its size. A root file system that is compressed has to be made for that;
// it is given back, for the caller to close. So is that of a disk with two slots, which an update holds as it is.
func (a assembler) sized(ctx context.Context, d Disk) (sized Disk, root *os.File, err error) {
	if !d.Auto && d.Slots == nil {
		return d, nil, nil
	}
	p := d.Root()
	if d.fixedSize() {
		a.report.Message("make the " + p.Filesystem.Type)
		root, err := a.programVolume(d, p).Make(ctx)
		if err != nil {
			return Disk{}, nil, err
		}
		info, err := root.Stat()
		if err == nil {
			sized, err = d.holding(diskimage.Size(info.Size()))
		}
		if err != nil {
			return Disk{}, nil, errors.Join(err, root.Close())
		}
		return sized, root, nil
	}
	tree, err := d.tree(p, a.tree, nil)
	if err != nil {
		return Disk{}, nil, err
	}
	sized, err = d.fit(tree)
	return sized, nil, err
}

// holding returns the disk with the size for a root file system of size bytes. In a slot there is room for larger ones.
func (d Disk) holding(size diskimage.Size) (Disk, error) {
	if d.Slots == nil {
		return d.resized(size)
	}
	if d.Auto {
		return d.resized(size + d.Free.beside(size))
	}
	if slot, _ := d.Layout.Partition(diskimage.RoleRootB); size > slot.Size {
		return d, &diskimage.NoSpaceError{What: "bytes", Needed: uint64(size), Available: uint64(slot.Size), BlockSize: 1}
	}
	return d, nil
}

// write writes the image to its files.
func (d Disk) write(ctx context.Context, image diskimage.Image, report *progress.Reporter) error {
	return diskimage.WriteFiles(ctx, d.fileNames(), outputMode, func(files []*os.File) error {
		defer report.Sample("write", d.toWrite(image), progress.Bytes, func() int64 { return allocated(files) })()
		outputs := make([]format.Output, 0, len(d.Files))
		var raw *os.File
		for i, f := range d.Files {
			options := format.Options{Compress: f.Compress, ID: d.Layout.ID, Time: d.Time}
			again := f.Format == format.Raw && d.BlockMap != ""
			outputs = append(outputs, format.Output{File: files[i], Format: f.Format, KeepInPageCache: again,
				Options: options})
			if f.Format == format.Raw {
				raw = files[i]
			}
		}
		if err := format.Write(ctx, outputs, filepath.Dir(d.Image), image); err != nil || d.BlockMap == "" {
			return err
		}
		return bmap.Write(ctx, files[len(files)-1], raw, image.Used())
	})
}

// toWrite returns how many bytes all files of the image take on the disk; 0 if that is unknown.
func (d Disk) toWrite(image diskimage.Image) int64 {
	data, known := image.Data()
	plain := func(f ImageFile) bool {
		return f.Format == format.Raw || f.Format == format.Qcow2 && (f.Compress == "" || f.Compress == format.None)
	}
	if !known || slices.ContainsFunc(d.Files, func(f ImageFile) bool { return !plain(f) }) {
		return 0
	}
	var total int64
	for _, e := range data {
		total += e.Length
	}
	return total * int64(len(d.Files))
}

// allocated returns how many bytes files take on the disk.
func allocated(files []*os.File) int64 {
	var total int64
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err == nil {
			total += st.Blocks * 512 // st_blocks is in units of 512 bytes, see stat(2)
		}
	}
	return total
}

// tree is what one partition holds.
func (d *Disk) tree(p diskimage.Partition, root diskimage.Tree, added []diskimage.Entry) (diskimage.Tree, error) {
	var tree diskimage.Tree
	switch p.Role {
	case diskimage.RoleRoot:
		tree = diskimage.WithoutContents(root, d.elsewhere())
		added = slices.Concat(deviceEntries(d), d.enrolmentEntries(), added)
	case diskimage.RoleBoot:
		tree = diskimage.WithoutContents(diskimage.Subtree(root, d.bootDir()), []string{"efi"})
	default:
		tree = diskimage.EmptyTree(d.Time)
	}
	if len(added) > 0 {
		var err error
		if tree, err = diskimage.Overlay(tree, added...); err != nil {
			return nil, err
		}
	}
	if p.Number == d.Boot().Number {
		dense := func(name string) bool {
			if p.Role == diskimage.RoleBoot {
				return d.Loader.Dense(".") // all of it
			}
			return d.Loader.Dense(path.Dir(name))
		}
		tree = diskimage.Dense(tree, dense)
	}
	return tree, nil
}

// mountPoints are the directories that a running system mounts something else over.
var mountPoints = []string{"dev", "proc", "run", "sys"}

// deviceEntries are the devices that a system without an initramfs needs before it mounts devtmpfs on /dev.
func deviceEntries(d *Disk) []diskimage.Entry {
	device := func(name string, mode, minor uint32) diskimage.Entry {
		major := uint32(1) // Documentation/admin-guide/devices.txt: memory devices
		if name == "console" || name == "tty" {
			major = 5 // alternate TTY devices
		}
		return diskimage.Entry{Name: "dev/" + name, Mode: unix.S_IFCHR | mode, ModTime: d.Time, Major: major,
			Minor: minor}
	}
	return []diskimage.Entry{
		device("console", 0o600, 1), device("full", 0o666, 7), device("null", 0o666, 3), device("random", 0o666, 8),
		device("tty", 0o666, 0), device("urandom", 0o666, 9), device("zero", 0o666, 5),
	}
}
