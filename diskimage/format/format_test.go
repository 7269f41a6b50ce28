// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage/rawimagetest"
)

// qemuNames are QEMU's names of formats, where they differ.
var qemuNames = map[string]string{"vhd": "vpc", "vhd-fixed": "vpc"}

func qemuName(name string) string {
	if other, ok := qemuNames[name]; ok {
		return other
	}
	return name
}

// each runs a subtest for each compression of each format.
func each(t *testing.T, test func(t *testing.T, name string, convert rawimagetest.Convert)) {
	for _, f := range format.Formats() {
		for _, compression := range append(f.Compressions, "") {
			t.Run(f.Name+"/"+compression, func(t *testing.T) {
				test(t, f.Name, func(ctx context.Context, dst, src *os.File) error {
					return format.Convert(ctx, f.Name, dst, src, format.Options{Compress: compression})
				})
			})
		}
	}
}

func TestConvertKeepsSizeAndContent(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Random(11).Make(t)
	each(t, func(t *testing.T, name string, convert rawimagetest.Convert) {
		rawimagetest.Judge(t, qemuName(name), rawimagetest.Output(t, raw, convert), raw)
	})
}

func TestConvertRejectsOutputThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	raw := rawimagetest.Random(11).Make(t)
	for _, f := range format.Formats() {
		if f.Name == "vmdk" {
			continue // is a stream, for which any writer is suitable
		}
		err := format.Convert(t.Context(), f.Name, rawimagetest.Random(1).Make(t), raw, format.Options{})
		if err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("%s: got %v, want an error that the file is not empty", f.Name, err)
		}
	}
}

// fileLimit is the environment variable that is set in the child process of a test.
const fileLimit = "FORMAT_TEST_FILE_LIMIT"

func TestConvertReportsWhyFileCannotGrow(t *testing.T) {
	if os.Getenv(fileLimit) == "" {
		t.Parallel()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), fileLimit+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	raw := rawimagetest.Case{Size: 8 << 20, Pieces: []rawimagetest.Piece{{Length: 8 << 20,
		Content: rawimagetest.Noise}}}.Make(t)
	signal.Ignore(unix.SIGXFSZ)
	const limit = 2 << 20
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, name string, convert rawimagetest.Convert) {
		err := convert(t.Context(), rawimagetest.Create(t), raw)
		if !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), "offset") {
			t.Errorf("got %v, want %v with an offset", err, unix.EFBIG)
		}
	})
}

func TestConvertEndsWhenTheContextDoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := rawimagetest.Random(1).Make(t)
	each(t, func(t *testing.T, _ string, convert rawimagetest.Convert) {
		if err := convert(ctx, rawimagetest.Create(t), raw); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

// caseDisk is a test case as a disk.
type caseDisk struct {
	rawimagetest.Case
	data  bool  // Data returns the ranges of the data
	err   error // of Write
	wrote func(diskimage.RawFile)
}

func (d caseDisk) Size() diskimage.Size { return diskimage.Size(d.Case.Size) }

func (d caseDisk) Write(_ context.Context, w diskimage.RawFile) error {
	if d.err != nil {
		return d.err
	}
	if d.wrote != nil {
		d.wrote(w)
	}
	return d.WriteInto(w)
}

func (d caseDisk) Data() (parts []diskimage.Extent, known bool) {
	for _, p := range d.Pieces {
		parts = append(parts, diskimage.Extent{Offset: p.Offset, Length: p.Length})
	}
	return parts, d.data
}

func TestWriteConvertsTheDisk(t *testing.T) {
	t.Parallel()
	c := rawimagetest.Random(12)
	c.Size = rawimage.RoundUp(c.Size, rawimage.SectorSize)
	slices.SortFunc(c.Pieces, func(a, b rawimagetest.Piece) int { return cmp.Compare(a.Offset, b.Offset) })
	raw := c.Make(t)
	for _, f := range format.Formats() {
		for _, known := range []bool{false, true} {
			image, dir := rawimagetest.Create(t), t.TempDir()
			direct := f.Name == format.Raw || f.Name == format.Qcow2 && known
			disk := caseDisk{Case: c, data: known, wrote: func(w diskimage.RawFile) {
				if fd, _, ok := diskimage.FileOf(w); (f.Name == format.Raw) != (ok && fd == int(image.Fd())) {
					t.Errorf("%s: the image is written to %v", f.Name, w)
				}
				if _, isFile := w.(*os.File); f.Name != format.Raw && direct == isFile {
					t.Errorf("%s, data known %v: the image is written to a %T", f.Name, known, w)
				}
			}}
			if err := format.Write(t.Context(), []format.Output{{File: image, Format: f.Name}}, dir, disk); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			if f.Name != format.Raw {
				rawimagetest.Judge(t, qemuName(f.Name), image, raw)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%s: %v is left behind, %v", f.Name, left, err)
			}
		}
	}
}

func TestSeveralFormatsCostOneWrite(t *testing.T) {
	t.Parallel()
	c := rawimagetest.Random(13)
	raw := c.Make(t)
	for _, names := range [][]string{{"raw", "qcow2", "vmdk"}, {"vdi", "raw"}, {"qcow2", "vhdx"}} {
		var outputs []format.Output
		for _, name := range names {
			outputs = append(outputs, format.Output{File: rawimagetest.Create(t), Format: name})
		}
		writes := 0
		disk := caseDisk{Case: c, data: true, wrote: func(diskimage.RawFile) { writes++ }}
		if err := format.Write(t.Context(), outputs, t.TempDir(), disk); err != nil || writes != 1 {
			t.Fatalf("%v: %d writes, %v", names, writes, err)
		}
		for _, o := range outputs {
			if o.Format == format.Raw {
				diskimagetest.Run(t, "cmp", o.File.Name(), raw.Name())
				continue
			}
			rawimagetest.Judge(t, o.Format, o.File, raw)
		}
	}
}

func TestWriteReturnsTheErrorOfTheImage(t *testing.T) {
	t.Parallel()
	want := errors.New("no such tree")
	for _, f := range format.Formats() {
		image := rawimagetest.Create(t)
		err := format.Write(t.Context(), []format.Output{{File: image, Format: f.Name}}, t.TempDir(),
			caseDisk{err: want, data: true})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", f.Name, err, want)
		}
		if info, err := image.Stat(); err != nil || info.Size() > 0 {
			t.Errorf("%s: something was written: %v, %v", f.Name, info.Size(), err)
		}
	}
}

func TestBySuffixFindsTheFormat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file, want string
		ok         bool
	}{
		{"disk.img", "raw", true},
		{"disk.raw", "raw", true},
		{"/a.vdi/debian.12.qcow2", "qcow2", true},
		{"DISK.VMDK", "vmdk", true},
		{"disk.vhd", "vhd", true},
		{"disk.vhdx", "vhdx", true},
		{"disk.vdi", "vdi", true},
		{"disk", "", false},
		{"disk.qcow2/disk", "", false},
		{"disk.iso", "", false},
		{"qcow2", "", false},
		{"", "", false},
	} {
		if got, ok := format.BySuffix(test.file); got != test.want || ok != test.ok {
			t.Errorf("%q: got %q, %v, want %q, %v", test.file, got, ok, test.want, test.ok)
		}
	}
}

func TestCheckListsTheValidNames(t *testing.T) {
	t.Parallel()
	for _, f := range format.Formats() {
		if err := format.Check(f.Name, ""); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	for _, test := range []struct{ name, compress, want string }{
		{"qcow", "", `unknown image format "qcow"; want one of raw, qcow2, vmdk, vhd, vhd-fixed, vhdx, vdi`},
		{"", "", `unknown image format ""`},
		{"vdi", "zlib", `unknown compression "zlib" of image format vdi; want one of none`},
		{"vmdk", "none", `want one of zlib`},
		{"qcow2", "xz", `want one of none, zlib, zstd`},
	} {
		if err := format.Check(test.name, test.compress); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q, %q: got %v, want %q", test.name, test.compress, err, test.want)
		}
	}
}

// The slice belongs to the caller: changing it must not change the package's.
func TestFormatsReturnsACopy(t *testing.T) {
	t.Parallel()
	list := format.Formats()
	for i := range list {
		list[i].Name = "x"
		for j := range list[i].Suffixes {
			list[i].Suffixes[j] = "x"
		}
		for j := range list[i].Compressions {
			list[i].Compressions[j] = "x"
		}
	}
	if name, ok := format.BySuffix("a.img"); name != format.Raw || !ok || format.Check(format.Raw, format.None) != nil {
		t.Error("the formats have changed")
	}
}

func BenchmarkConvert(b *testing.B) {
	const size = 64 << 20
	c := rawimagetest.Case{Size: 4 * size}
	for offset := int64(0); offset < c.Size; offset += size {
		c.Pieces = append(c.Pieces,
			rawimagetest.Piece{Offset: offset, Length: size / 8, Content: rawimagetest.Noise},
			rawimagetest.Piece{Offset: offset + size/8, Length: size / 8, Content: rawimagetest.Text})
	}
	raw := c.Make(b)
	for _, f := range format.Formats() {
		for _, compression := range f.Compressions {
			b.Run(f.Name+"/"+compression, func(b *testing.B) {
				b.SetBytes(size) // of data
				b.ReportAllocs()
				image := rawimagetest.Create(b)
				for b.Loop() {
					if err := image.Truncate(0); err != nil {
						b.Fatal(err)
					}
					if _, err := image.Seek(0, 0); err != nil {
						b.Fatal(err)
					}
					if err := format.Convert(b.Context(), f.Name, image, raw, format.Options{Compress: compression}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
