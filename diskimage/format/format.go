// SPDX-License-Identifier: Apache-2.0

// Package format defines the formats of disk image files by name: which exist, which one a file
// name implies, and how to write each.
//
//	raw        the disk as it is, a sparse file
//	qcow2      QEMU and KVM, OpenStack
//	vmdk       VMware, in the compressed form for import (streamOptimized)
//	vhd        Virtual PC, Hyper-V generation 1, dynamic
//	vhd-fixed  Azure
//	vhdx       Hyper-V, dynamic
//	vdi        VirtualBox, dynamic
//
// The same disk and options always result in the same file. Formats other than raw are made from a
// raw image, see the packages of their names, except that Write can write qcow2 without compression
// directly. Open reads all of them.
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

// Names of formats that this package treats specially: Raw needs no conversion, Qcow2 may need
// none.
const (
	Raw   = "raw"
	Qcow2 = "qcow2"
)

// Compressions of formats.
const (
	None = "none"
	Zlib = "zlib"
	Zstd = "zstd"
)

// Format describes a format.
type Format struct {
	Name string
	// Suffixes are the file name suffixes of the format, the usual one first, in lower case and
	// with the dot. A suffix of two formats stands for the first of them.
	Suffixes []string
	// Compressions are the valid values of Options.Compress; the first is the default.
	Compressions []string
	convert      func(ctx context.Context, dst, src *os.File, opts Options) error
}

// Options are the options of an output. The zero value is the default of every format. A format
// ignores options that it cannot store.
type Options struct {
	// Compress is one of the format's Compressions, or empty for the first of them.
	Compress string
	// ID identifies the disk. The default is derived from the start of the disk.
	ID uuid.UUID
	// Time is the creation time of the disk.
	Time time.Time
	// Workers is the number of goroutines that read and compress; 0 means one per processor. It
	// does not change the output.
	Workers int
}

// formats are all formats, in the order in which users see them.
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

// Formats returns all formats, raw first.
func Formats() []Format {
	list := slices.Clone(formats)
	for i, f := range list {
		list[i].Suffixes, list[i].Compressions = slices.Clone(f.Suffixes), slices.Clone(f.Compressions)
	}
	return list
}

// Names returns the names of all formats, raw first.
func Names() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.Name
	}
	return names
}

// BySuffix returns the name of the format that a file name implies, ignoring case.
func BySuffix(filename string) (name string, ok bool) {
	suffix := strings.ToLower(filepath.Ext(filename))
	for _, f := range formats {
		if slices.Contains(f.Suffixes, suffix) {
			return f.Name, true
		}
	}
	return "", false
}

// FileName returns a file name with the suffix of a format: a suffix of another format is replaced
// by the usual one, which is appended if there is no suffix.
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

// Check returns an error if there is no format of that name with that compression
// (Options.Compress).
func Check(name, compress string) error {
	_, err := find(name, compress)
	return err
}

// find returns the format with a name, and checks that it has the compression.
func find(name, compress string) (Format, error) {
	for _, f := range formats {
		if f.Name != name {
			continue
		}
		if compress != "" && !slices.Contains(f.Compressions, compress) {
			return f, fmt.Errorf("unknown compression %q of image format %s; want one of %s", compress, name,
				strings.Join(f.Compressions, ", "))
		}
		return f, nil
	}
	return Format{}, fmt.Errorf("unknown image format %q; want one of %s", name, strings.Join(Names(), ", "))
}

// Convert writes the raw disk image in src to dst, an empty file, in the format with that name. The
// size of the disk is the length of src, rounded up to whole sectors of 512 bytes. Convert does not
// sync. After an error, the content of dst is useless. The offsets of both files are undefined
// afterwards.
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
