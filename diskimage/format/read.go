// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"io"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vdi"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhd"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vhdx"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vmdk"
)

// OpenDisk is the disk in an image file. Several goroutines may use it at once.
type OpenDisk interface {
	io.ReaderAt
	// Size returns the size of the disk in bytes.
	Size() int64
}

// opened are the formats that a reader recognises by what the file holds at an offset, which counts from the end if it
// is negative.
var opened = []struct {
	name, magic string
	offset      int64
	open        func(f io.ReaderAt, size int64) (OpenDisk, error)
}{
	{Qcow2, "QFI\xfb", 0, func(f io.ReaderAt, _ int64) (OpenDisk, error) { return qcow2.Open(f) }},
	{"vmdk", "KDMV", 0, func(f io.ReaderAt, size int64) (OpenDisk, error) { return vmdk.Open(f, size) }},
	{"vhdx", "vhdxfile", 0, func(f io.ReaderAt, _ int64) (OpenDisk, error) { return vhdx.Open(f) }},
	{"vdi", "\x7f\x10\xda\xbe", 64, func(f io.ReaderAt, _ int64) (OpenDisk, error) { return vdi.Open(f) }},
	{"vhd", "conectix", -512, func(f io.ReaderAt, size int64) (OpenDisk, error) { return vhd.Open(f, size) }},
}

// Detect returns the name of the format of an image file, which is recognised by its content; that of both variants of
// vhd is "vhd".
func Detect(f *os.File) (name string, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	for _, o := range opened {
		offset := o.offset
		if offset < 0 {
			offset += size
		}
		if offset < 0 || offset+int64(len(o.magic)) > size {
			continue
		}
		magic := make([]byte, len(o.magic))
		if _, err := f.ReadAt(magic, offset); err != nil {
			return "", err
		}
		if string(magic) == o.magic {
			return o.name, nil
		}
	}
	return Raw, nil
}

// Open returns the disk in an image file of any format, see Detect.
func Open(f *os.File) (OpenDisk, error) {
	name, err := Detect(f)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	for _, o := range opened {
		if o.name != name {
			continue
		}
		disk, err := o.open(f, size)
		if err != nil {
			return nil, fmt.Errorf("open %s image: %w", name, err)
		}
		return disk, nil
	}
	return rawDisk{f, size}, nil
}

// rawDisk is the disk in a raw image.
type rawDisk struct {
	io.ReaderAt
	size int64
}

func (d rawDisk) Size() int64 { return d.size }
