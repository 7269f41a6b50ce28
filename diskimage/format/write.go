// SPDX-License-Identifier: Apache-2.0

package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/direct"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/qcow2"
)

// Output is one file that a disk goes to.
type Output struct {
	File   *os.File // empty
	Format string
	// Again says that the file will be read as soon as it is written, so that it is worth its place in
	// memory. It is also right for who does not sync the file, and would rather not wait for the disk.
	Again bool
	Options
}

// Disk is what goes to the outputs. A diskimage.Image is one.
type Disk interface {
	// Size is the length of the disk, in whole sectors.
	Size() diskimage.Size
	// Write writes the disk. It is called once.
	Write(ctx context.Context, w diskimage.RawFile) error
	// Data lists the parts of the disk outside of which Write writes nothing, in ascending order and apart. It is
	// false if nobody knows.
	Data() (parts []diskimage.Extent, known bool)
}

// Write has the disk written once, as a raw image, and writes it to all outputs. The raw image is the first
// output that is raw. If there is none, it is a file without a name in the directory dir, which must not be
// on tmpfs for large disks and is best that of the outputs.
//
// A single output of qcow2 without compression is written directly, if the disk knows where its data is: a
// Debian system of 655 MiB takes 0.58 s with fsync, a raw image 0.63 s, a raw image and qemu-img convert 1.03
// s. Such an output, and a raw one that is the only one, does not stay in the page cache, where that makes
// writing faster (ext4, xfs), unless it is to be read again (Output.Again). The other formats cost the
// detour: time to copy from the page cache, and room for the data of the disk while they are converted, or
// neither if the file system of both files shares blocks.
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
		if raw, err = createUnnamed(dir); err != nil {
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

// open lets the only output be written, past the page cache unless the file is needed again.
func (o Output) open(write func(dst qcow2.Destination) error) (err error) {
	if o.Again {
		return write(o.File)
	}
	file := direct.Open(o.File)
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}

// writeQcow2 writes the disk into a qcow2 file as its data comes.
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

// createUnnamed makes a file that is gone when it is closed.
func createUnnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	}
	file, err := os.CreateTemp(dir, ".vmdebootstrap-") // where the file system has no O_TMPFILE
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// rawUnit is the unit in which a raw image is searched for zeros.
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
