// SPDX-License-Identifier: Apache-2.0

// Package format knows the formats of disk image files by name: which there are, which one a file name asks for, and
// how a file is written in each.
//
//	raw        the disk as it is, a sparse file
//	qcow2      QEMU and KVM, OpenStack
//	vmdk       VMware, in the compressed form for import (streamOptimized)
//	vhd        Virtual PC, Hyper-V generation 1, dynamic
//	vhd-fixed  Azure
//	vhdx       Hyper-V, dynamic
//	vdi        VirtualBox, dynamic
//
// The same disk and options give the same file, byte by byte. The formats other than raw are made from a raw image, see
// the packages of their names, but for qcow2 without compression, which Write can write directly. Not supported:
// reading any of them.
package format

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vdi"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhd"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhdx"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vmdk"
)

// Names of formats: Raw needs no conversion, Qcow2 may need none.
const (
	Raw   = "raw"
	Qcow2 = "qcow2"
)

// Ways of compression.
const (
	None = "none"
	Zlib = "zlib"
	Zstd = "zstd"
)

// Format is what a kind of file is called and can do.
type Format struct {
	Name string
	// Suffixes are the ends of file names that ask for the format, the usual one first. They are in lower case and
	// begin with a dot. One that two formats share asks for the first of them.
	Suffixes []string
	// Compressions are the possible values of Options.Compress; the first is what happens without one.
	Compressions []string
	convert      func(ctx context.Context, dst, src *os.File, opts Options) error
}

// Options say how a file is written. The zero value is the default of every format. A format ignores what it has
// no place for.
type Options struct {
	// Compress is one of the format's Compressions, or empty for the first of them.
	Compress string
	// ID identifies the disk. Without one it is made from the beginning of the disk.
	ID uuid.UUID
	// Time is when the disk was made.
	Time time.Time
	// Workers is the number of goroutines that read and compress; 0 is one for each processor. It does not change
	// the output.
	Workers int
}

// formats has all formats, in the order in which they are listed to users.
var formats = []Format{
	{Raw, []string{".img", ".raw"}, []string{None}, convertRaw},
	{Qcow2, []string{".qcow2"}, []string{None, Zlib, Zstd},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			compression := map[string]qcow2.Compression{Zlib: qcow2.Zlib, Zstd: qcow2.Zstd}[o.Compress]
			return qcow2.Convert(ctx, dst, src, qcow2.Options{Compression: compression, Workers: o.Workers})
		}},
	{"vmdk", []string{".vmdk"}, []string{Zlib},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			return vmdk.Convert(ctx, dst, src, vmdk.Options{ID: o.ID, Workers: o.Workers})
		}},
	{"vhd", []string{".vhd"}, []string{None},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			return vhd.Convert(ctx, dst, src, vhd.Options{ID: o.ID, Time: o.Time, Workers: o.Workers})
		}},
	{"vhd-fixed", []string{".vhd"}, []string{None},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			return vhd.Convert(ctx, dst, src, vhd.Options{Fixed: true, ID: o.ID, Time: o.Time, Workers: o.Workers})
		}},
	{"vhdx", []string{".vhdx"}, []string{None},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			return vhdx.Convert(ctx, dst, src, vhdx.Options{ID: o.ID, Workers: o.Workers})
		}},
	{"vdi", []string{".vdi"}, []string{None},
		func(ctx context.Context, dst, src *os.File, o Options) error {
			return vdi.Convert(ctx, dst, src, vdi.Options{ID: o.ID, Workers: o.Workers})
		}},
}

// Formats lists all formats, raw first.
func Formats() []Format {
	list := slices.Clone(formats)
	for i, f := range list {
		list[i].Suffixes, list[i].Compressions = slices.Clone(f.Suffixes), slices.Clone(f.Compressions)
	}
	return list
}

// BySuffix returns the name of the format that a file name asks for. Upper and lower case are the same.
func BySuffix(filename string) (name string, ok bool) {
	suffix := strings.ToLower(filepath.Ext(filename))
	for _, f := range formats {
		if slices.Contains(f.Suffixes, suffix) {
			return f.Name, true
		}
	}
	return "", false
}

// FileName returns a name like that of a file to one of a format: the suffix, if it asks for another format,
// is replaced by the usual one, and added if there is none.
func FileName(filename, name string) (string, error) {
	f, err := find(name, "")
	if err != nil {
		return "", err
	}
	suffix := filepath.Ext(filename)
	if slices.Contains(f.Suffixes, strings.ToLower(suffix)) {
		return filename, nil
	}
	if _, known := BySuffix(filename); known {
		filename = strings.TrimSuffix(filename, suffix)
	}
	return filename + f.Suffixes[0], nil
}

// Check reports whether there is a format of that name with that compression (Options.Compress).
func Check(name, compress string) error {
	_, err := find(name, compress)
	return err
}

// find returns the format of a name, if it has a compression.
func find(name, compress string) (Format, error) {
	names := make([]string, len(formats))
	for i, f := range formats {
		if names[i] = f.Name; f.Name != name {
			continue
		}
		if compress != "" && !slices.Contains(f.Compressions, compress) {
			return f, fmt.Errorf("compression %q: image format %s has only %s", compress, name,
				strings.Join(f.Compressions, ", "))
		}
		return f, nil
	}
	return Format{}, fmt.Errorf("image format %q: not one of %s", name, strings.Join(names, ", "))
}

// Convert writes the raw disk image in src to dst, an empty file, in the format of that name. The size of the disk is
// the length of src, rounded up to whole sectors of 512 bytes. Convert does not sync. What an error has left in dst is
// of no use. The offsets of both files are undefined afterwards.
func Convert(ctx context.Context, name string, dst, src *os.File, opts Options) error {
	f, err := find(name, opts.Compress)
	if err != nil {
		return err
	}
	if err := f.convert(ctx, dst, src, opts); err != nil {
		return fmt.Errorf("convert image to %s: %w", name, err)
	}
	return nil
}
