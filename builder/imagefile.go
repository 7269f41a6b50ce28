// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/bmap"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/luks"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/verity"
)

// ImageFile is one of the files that a disk is written to.
type ImageFile struct {
	Name string
	// Format is one that diskimage/format knows, and Compress one of its ways of compression, or empty for the usual
	// one.
	Format, Compress string
}

// imageFiles chooses names and formats. One format goes to the file that --image names; without --format it
// is qcow2 for --convert-qcow2, else what the suffix of the name says, else raw as it was in 1.7. With
// several, each file has the suffix of its format.
func imageFiles(o Options) []ImageFile {
	if o.Image == "" {
		return nil
	}
	formats := splitFormats(o.Formats)
	switch bySuffix, known := format.BySuffix(o.Image); {
	case len(formats) > 0:
	case o.ConvertQcow2:
		formats = []string{format.Qcow2}
	case known:
		formats = []string{bySuffix}
	default:
		formats = []string{format.Raw}
	}
	files := make([]ImageFile, 0, len(formats))
	for _, name := range formats {
		file := ImageFile{Name: o.Image, Format: name}
		if beside, err := format.FileName(o.Image, name); err == nil && len(formats) > 1 {
			file.Name = beside
		}
		if format.Check(name, o.Compress) == nil {
			file.Compress = o.Compress
		}
		files = append(files, file)
	}
	return files
}

// splitFormats returns the formats that --format names, each once.
func splitFormats(texts []string) []string {
	var formats []string
	for _, name := range strings.FieldsFunc(strings.Join(texts, ","),
		func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(formats, name) {
			formats = append(formats, name)
		}
	}
	return formats
}

// blockMapName is the name of the block map of the raw image, "" for none.
func blockMapName(o Options) string {
	for _, f := range imageFiles(o) {
		if o.Bmap && f.Format == format.Raw {
			return f.Name + bmap.Suffix
		}
	}
	return ""
}

// fileNames are the names of all files of the disk, the block map last.
func (d Disk) fileNames() []string {
	var names []string
	for _, f := range d.Files {
		names = append(names, f.Name)
	}
	if d.BlockMap != "" {
		names = append(names, d.BlockMap)
	}
	return names
}

// Outputs are the names of all files that a build writes. The first is what hooks of the phase image get.
func (s Spec) Outputs() []string { return append(s.outputFiles(), s.exportFiles()...) }

// ImageFiles are the files of the disk image.
func (s Spec) ImageFiles() []ImageFile { return imageFiles(s.o) }

// outputFiles are the files of all outputs but --export.
func (s Spec) outputFiles() []string {
	names := Disk{Files: imageFiles(s.o), BlockMap: blockMapName(s.o)}.fileNames()
	for _, name := range []string{s.o.Tarball, s.o.Squash, s.o.ISO} {
		if name != "" && name != StandardOutput {
			names = append(names, name)
		}
	}
	for _, d := range s.descriptions() {
		names = append(names, d.file)
	}
	return names
}

// formatsKnown: every format exists, goes into a file of its own, and one of them has the compression.
func formatsKnown(s Spec) []error {
	if s.o.Image == "" {
		return formatsNeedImage(s)
	}
	var problems []error
	compresses := false
	var compressError error
	byName := map[string]string{}
	for _, f := range imageFiles(s.o) {
		if err := format.Check(f.Format, ""); err != nil {
			problems = append(problems,
				problem.New("--format", "%w%s", err, suggest.Question(f.Format, format.Names()))...)
			continue
		}
		if other, taken := byName[f.Name]; taken {
			problems = append(problems,
				problem.New("--format", "%s and %s would both be written to %q: build one of them alone",
					other, f.Format, f.Name)...)
		}
		byName[f.Name] = f.Format
		err := format.Check(f.Format, s.o.Compress)
		if compresses = compresses || err == nil; err != nil {
			compressError = err
		}
		if s.o.SectorSize == diskimage.SectorSize4K && f.Format != format.Raw && f.Format != format.Qcow2 {
			problems = append(problems, problem.New("--sector-size",
				"a disk in a %s file has sectors of 512 bytes: choose --format raw or qcow2", f.Format)...)
		}
	}
	if !compresses && compressError != nil {
		problems = append(problems, &problem.Problem{Flag: "--compress", Err: compressError})
	}
	if s.o.ConvertQcow2 && len(s.o.Formats) > 0 && !slices.Contains(splitFormats(s.o.Formats), format.Qcow2) {
		problems = append(problems,
			problem.New("--convert-qcow2", "--format asks for something else: drop one of them")...)
	}
	if s.o.Bmap && blockMapName(s.o) == "" && len(problems) == 0 {
		problems = append(problems, problem.New("--bmap", "is for raw images: add raw to --format")...)
	}
	return problems
}

// formatsNeedImage: without a disk there is nothing to choose a format for.
func formatsNeedImage(s Spec) []error {
	var problems []error
	for _, option := range []struct {
		flag  string
		given bool
	}{
		{"--format", len(s.o.Formats) > 0}, {"--compress", s.o.Compress != ""}, {"--bmap", s.o.Bmap},
		{"--raw", len(s.o.Blobs) > 0}, {"--size", s.o.SizeAuto},
	} {
		if option.given {
			problems = append(problems, problem.New(option.flag, "needs --image as well")...)
		}
	}
	return problems
}

// autoSize is the size of a disk of --size=auto until its content has been measured. It is larger than any content, so
// that whatever would not fit then does not fit now.
const autoSize = 1 * diskimage.TiB

// loaderRoom is for the files that a boot loader adds to the root file system when the layout is final: ldlinux.sys and
// ldlinux.c32 have 180 KiB together.
const loaderRoom = 1 * diskimage.MiB

// Space is room for what comes later: a number of bytes, or a percentage of what is there already.
type Space struct {
	Bytes   diskimage.Size
	Percent uint64 // counts if Bytes is 0
}

// maxPercent keeps a slip of the finger (--free=25000%) from making an image of terabytes.
const maxPercent = 10_000

// ParseSpace reads a size as diskimage.ParseSize does, or a whole number and a percent sign.
func ParseSpace(text string) (Space, error) {
	number, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	if !isPercent {
		size, err := diskimage.ParseSize(text)
		return Space{Bytes: size}, err
	}
	percent, err := strconv.ParseUint(number, 10, 64)
	if err != nil || percent > maxPercent {
		return Space{}, fmt.Errorf("%q is neither a size nor a percentage from 0%% to %d%%", text, maxPercent)
	}
	return Space{Percent: percent}, nil
}

// String is what ParseSpace reads.
func (s Space) String() string {
	if s.Bytes > 0 {
		return s.Bytes.String()
	}
	return strconv.FormatUint(s.Percent, 10) + "%"
}

// beside returns the space in bytes beside what takes used bytes.
func (s Space) beside(used diskimage.Size) diskimage.Size {
	if s.Bytes > 0 {
		return s.Bytes
	}
	return used / 100 * diskimage.Size(s.Percent)
}

// fit gives the disk of --size=auto its size: that of the table, of the partitions that were asked for, and of a root
// file system with the tree and the free space. Other disks stay as they are.
func (d Disk) fit(tree diskimage.Tree) (Disk, error) {
	if !d.Auto {
		return d, nil
	}
	root := d.Root()
	least, err := filesystem.MinimumSize(root.Filesystem, tree, loaderRoom)
	if err != nil {
		return Disk{}, fmt.Errorf("measure %s: %w", root, err)
	}
	size, err := filesystem.MinimumSize(root.Filesystem, tree, loaderRoom+d.Free.beside(least))
	if err != nil {
		return Disk{}, fmt.Errorf("measure %s: %w", root, err)
	}
	return d.resized(size)
}

// resized gives the root file system of a disk of --size=auto its size, and the disk what follows from it.
func (d Disk) resized(root diskimage.Size) (resized Disk, err error) {
	if d.Root().LUKS != uuid.Nil {
		root += luks.HeaderSize
	}
	d.Request.Partitions = slices.Clone(d.Request.Partitions)
	for i, p := range d.Request.Partitions {
		switch p.Role {
		case diskimage.RoleRootVerity, diskimage.RoleRootVerityB:
			d.Request.Partitions[i].Size = verity.HashSize(root + diskimage.MiB) // of its rounded size
		case diskimage.RoleRootB:
			d.Request.Partitions[i].Size = root
		}
	}
	d.Request.Size, d.Auto = d.Request.DiskSize(root), false
	d.Layout, err = diskimage.NewLayout(d.Request)
	return d, err
}
