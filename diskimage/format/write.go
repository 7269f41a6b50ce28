package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Output is one file that a disk goes to.
type Output struct {
	File   *os.File // empty
	Format string
	Options
}

// Write has write put a raw disk image into a file once, and writes it to all outputs. The file is the first output that
// is raw. If there is none, it is one without a name in the directory dir, which must not be on tmpfs for large disks and
// is best that of the outputs. Afterwards it holds the disk still.
//
// Formats other than raw cost room for the data of the disk while they are converted, and time to copy it from the page
// cache (0.2 s for 700 MiB), or neither if the file system of both files shares blocks. To write them without the
// detour, in the order in which file systems are written, would make the output depend on that order.
func Write(ctx context.Context, outputs []Output, dir string, write func(*os.File) error) (err error) {
	for _, o := range outputs {
		if err := Check(o.Format, o.Compress); err != nil {
			return err
		}
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
	if err := write(raw); err != nil {
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

// createUnnamed makes a file that is gone when it is closed.
func createUnnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	}
	file, err := os.CreateTemp(dir, "raw-*.partial") // where the file system has no O_TMPFILE
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
