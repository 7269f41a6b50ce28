// SPDX-License-Identifier: Apache-2.0

package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/direct"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
)

// Output is one destination of a disk.
type Output struct {
	File   *os.File // empty
	Format string
	// KeepInPageCache keeps the file in the page cache, because it will be read soon. It also suits
	// callers that do not sync the file and do not want to wait for the disk.
	KeepInPageCache bool
	Options
}

// Disk is the content of the outputs. diskimage.Image implements it.
type Disk interface {
	// Size returns the length of the disk, in whole sectors.
	Size() diskimage.Size
	// Write writes the disk. It is called once.
	Write(ctx context.Context, w diskimage.RawFile) error
	// Data returns the ranges outside which Write writes nothing, sorted and not adjacent. known is
	// false if they are unknown.
	Data() (parts []diskimage.Extent, known bool)
}

// Write writes the disk once, as a raw image, and converts that to all outputs. The raw image is
// the first output in raw format. If there is none, it is an unnamed file in the directory dir,
// which should be that of the outputs and must not be on tmpfs for large disks.
//
// A single qcow2 output without compression is written directly if the disk knows where its data
// is: a Debian system of 655 MiB takes 0.58 s with fsync, a raw image 0.63 s, a raw image and
// qemu-img convert 1.03 s. Such an output, and a raw output that is the only one, bypasses the page
// cache where that is faster (ext4, xfs), unless Output.KeepInPageCache is set. Other formats take
// additional time, to copy from the page cache, and room for the data of the disk during the
// conversion, or neither if the file system shares blocks between the files.
func Write(ctx context.Context, outputs []Output, dir string, disk Disk) (err error) {
	for _, o := range outputs {
		if err := Check(o.Format, o.Compress); err != nil {
			return err
		}
	}
	if len(outputs) == 1 && outputs[0].Format == Qcow2 && (outputs[0].Compress == "" || outputs[0].Compress == None) {
		if data, known := disk.Data(); known {
			return outputs[0].open(func(dst qcow2.Destination) error { return writeQcow2(ctx, dst, disk, data) })
		}
	}
	if len(outputs) == 1 && outputs[0].Format == Raw {
		return outputs[0].open(func(dst qcow2.Destination) error { return disk.Write(ctx, dst) })
	}
	var raw *os.File
	first := slices.IndexFunc(outputs, func(o Output) bool { return o.Format == Raw })
	if first >= 0 {
		raw = outputs[first].File
	} else {
		if raw, err = diskimage.TemporaryFile(dir); err != nil {
			return fmt.Errorf("make temporary file for the raw image: %w", err)
		}
		defer func() { err = errors.Join(err, raw.Close()) }()
	}
	if err := disk.Write(ctx, raw); err != nil {
		return err
	}
	for i, o := range outputs {
		if i == first {
			continue
		}
		if err := Convert(ctx, o.Format, o.File, raw, o.Options); err != nil {
			return err
		}
	}
	return nil
}

// open opens the only output for writing, bypassing the page cache unless the file is needed again.
func (o Output) open(write func(dst qcow2.Destination) error) (err error) {
	if o.KeepInPageCache {
		return write(o.File)
	}
	file := direct.Open(o.File)
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}

// writeQcow2 writes the disk directly into a qcow2 file.
func writeQcow2(ctx context.Context, dst qcow2.Destination, disk Disk, data []diskimage.Extent) error {
	ranges := make([]qcow2.Range, len(data))
	for i, e := range data {
		ranges[i] = qcow2.Range(e)
	}
	file, err := qcow2.NewFile(dst, int64(disk.Size()), ranges, qcow2.Options{})
	if err != nil {
		return err
	}
	if err := disk.Write(ctx, file); err != nil {
		return err
	}
	return file.Finish()
}

// rawUnit is the granularity of the search for zeros in a raw image.
const rawUnit = 64 << 10

// convertRaw makes a sparse copy.
func convertRaw(ctx context.Context, dst, src *os.File, opts Options) error {
	image, err := rawimage.Open(src)
	if err != nil {
		return err
	}
	copier, err := rawimage.NewCopier(image, dst)
	if err != nil {
		return err
	}
	scan := rawimage.ScanOptions{ClusterSize: rawUnit, Workers: opts.Workers}
	err = image.Scan(ctx, scan, func(run rawimage.Run) error { return copier.Copy(run.Data, run.Offset, run.Offset) })
	if err != nil {
		return err
	}
	return dst.Truncate(image.Size())
}
