// SPDX-License-Identifier: Apache-2.0

package fat_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var (
	id    = uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001")
	mtime = time.Date(2024, 2, 29, 23, 59, 59, 990_000_000, time.UTC)
)

// tree returns a tree of files by name; a name with a trailing slash is a directory.
func tree(t *testing.T, files map[string]string) diskimage.Tree {
	t.Helper()
	var entries []diskimage.Entry
	for name, data := range files {
		if dir, ok := strings.CutSuffix(name, "/"); ok {
			entries = append(entries, diskimage.DirEntry(dir, 0o755, mtime))
			continue
		}
		entries = append(entries, diskimage.FileEntry(name, 0o644, []byte(data), mtime))
	}
	all, err := diskimage.Overlay(diskimage.EmptyTree(mtime), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// format writes a file system into a new sparse file.
func format(t *testing.T, size diskimage.Size, spec diskimage.Filesystem, tree diskimage.Tree) (image string,
	v diskimage.Volume) {
	t.Helper()
	v, err := fat.Formatter{}.Plan(size, spec, tree)
	if err != nil {
		t.Fatal(err)
	}
	image = filepath.Join(t.TempDir(), "fat.img")
	file, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := v.Write(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return image, v
}

// unpack reads all files with mtools and returns their contents by name. Names of directories have
// a trailing slash.
func unpack(t *testing.T, image string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "mcopy"), "-s", "-n", "-m", "-i", image, "::*", dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		short := strings.TrimPrefix(name, dir+"/")
		if d.IsDir() {
			found[short+"/"] = ""
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if got := info.ModTime().UTC(); !got.Equal(mtime.Truncate(2 * time.Second)) {
			t.Errorf("%s: got time %v, want %v in steps of two seconds", short, got, mtime)
		}
		data, err := os.ReadFile(name)
		found[short] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// espFiles returns files like those of an EFI system partition, with all kinds of names.
func espFiles() map[string]string {
	files := map[string]string{
		"EFI/": "", "EFI/BOOT/": "", "EFI/debian/": "", "UPPER.TXT": "u", "empty": "", "empty dir/": "",
		".dotfile":             "d",
		"EFI/BOOT/BOOTX64.EFI": strings.Repeat("efi", 300_000), "EFI/debian/grub.cfg": "search\n",
		"grub.cfg": "lower", "Mixed.Case": "m", "a.b.c": "dots", "with blank.txt": "b", "plus+comma,.x": "p",
		"exactly13char": "13", strings.Repeat("l", 255): "longest", "ünïcödé-日本語.txt": "unicode",
		"longname1.conf": "1", "longname2.conf": "2", "longname3.conf": "3", "LONGNA~1.CON": "taken", "noext.": "",
		"zeros": strings.Repeat("\x00", 100_000), "ext.toolong": "e", "~1": "t", "...three": "3",
	}
	delete(files, "noext.")
	for i := range 300 {
		files[fmt.Sprintf("many/file number %d", i)] = fmt.Sprint(i)
	}
	files["many/"] = ""
	return files
}

func TestFATIsValidAndComplete(t *testing.T) {
	t.Parallel()
	files := espFiles()
	for _, size := range []diskimage.Size{
		5 * diskimage.MiB, 7*diskimage.MiB + 512*3, 16*diskimage.MiB - 512, 16 * diskimage.MiB, 33 * diskimage.MiB,
		64*diskimage.MiB - 512, 64 * diskimage.MiB, 100*diskimage.MB - 256, 260 * diskimage.MiB,
		260*diskimage.MiB + 512,
		diskimage.GiB,
	} {
		t.Run(size.String(), func(t *testing.T) {
			t.Parallel()
			image, _ := format(t, size, diskimage.Filesystem{UUID: id, Label: "esp", StartLBA: 2048, Time: mtime},
				tree(t, files))
			diskimagetest.Fsck(t, image)
			found := unpack(t, image)
			for name, want := range files {
				got, ok := found[name]
				if !ok {
					t.Errorf("%q is missing", name)
				} else if got != want {
					t.Errorf("%q: got %d bytes %x, want %d bytes", name, len(got), sha256.Sum256([]byte(got)),
						len(want))
				}
			}
			if len(found) != len(files) {
				t.Errorf("got %d names, want %d", len(found), len(files))
			}
		})
	}
}

func TestFATOfLargeSectorsIsValidAndComplete(t *testing.T) {
	t.Parallel()
	files := espFiles()
	for size, kind := range map[diskimage.Size]string{
		6 * diskimage.MiB: "FAT12", 16*diskimage.MiB - 4096: "FAT12", 16 * diskimage.MiB: "FAT16",
		100 * diskimage.MiB: "FAT16",
		256 * diskimage.MiB: "FAT16", 260*diskimage.MiB - 4096: "FAT16", 260 * diskimage.MiB: "FAT32",
		300 * diskimage.MiB: "FAT32",
		9 * diskimage.GiB:   "FAT32",
	} {
		t.Run(size.String(), func(t *testing.T) {
			t.Parallel()
			spec := diskimage.Filesystem{UUID: id, Label: "esp", StartLBA: 256, SectorSize: diskimage.SectorSize4K,
				Time: mtime}
			image, _ := format(t, size, spec, tree(t, files))
			diskimagetest.Fsck(t, image)
			if out := diskimagetest.Run(t, "fsck.fat", "-n", "-v", image); !strings.Contains(out,
				"4096 bytes per logical sector") {
				t.Errorf("fsck.fat -v:\n%s", out)
			}
			if out := diskimagetest.Run(t, "blkid", "-p", "-o", "export", image); !strings.Contains(out,
				"VERSION="+kind+"\n") {
				t.Errorf("blkid: got\n%s\nwant %s", out, kind)
			}
			found := unpack(t, image)
			for name, want := range files {
				if got, ok := found[name]; !ok || got != want {
					t.Errorf("%q: got %d bytes, want %d", name, len(got), len(want))
				}
			}
		})
	}
	if _, err := (fat.Formatter{}).Plan(diskimage.GiB, diskimage.Filesystem{SectorSize: 1024},
		diskimage.EmptyTree(mtime)); err == nil {
		t.Error("sectors of 1024 bytes: got no error")
	}
}

func TestEmptyFATIsValid(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{
		64 * diskimage.KiB, diskimage.MiB, 2 * diskimage.MiB, 4*diskimage.MiB + 512, 12 * diskimage.MiB,
		63 * diskimage.MiB,
		65 * diskimage.MiB, 129 * diskimage.MiB,
		505 * diskimage.MiB, 506 * diskimage.MiB, 507 * diskimage.MiB, 4 * diskimage.GiB, 8*diskimage.GiB + 512,
		20 * diskimage.GiB,
		33 * diskimage.GiB, 2*diskimage.TiB - 512,
	} {
		t.Run(size.String(), func(t *testing.T) {
			t.Parallel()
			image, _ := format(t, size, diskimage.Filesystem{UUID: id}, diskimage.EmptyTree(mtime))
			if size < 128*diskimage.GiB { // fsck.fat reads the whole FAT
				diskimagetest.Fsck(t, image)
			}
			var info fs.FileInfo
			info, err := os.Stat(image)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() != int64(size) {
				t.Errorf("the image is %d bytes long, want %d", info.Size(), size)
			}
		})
	}
}

func TestFATKindFollowsTheSize(t *testing.T) {
	t.Parallel()
	for size, want := range map[diskimage.Size]string{
		5 * diskimage.MiB: "FAT12", 16*diskimage.MiB - 512: "FAT12", 16 * diskimage.MiB: "FAT16",
		diskimage.FAT32From(512) - 512: "FAT16",
		diskimage.FAT32From(512):       "FAT32", 5 * diskimage.GiB: "FAT32",
	} {
		image, _ := format(t, size, diskimage.Filesystem{UUID: id, Label: "Boot $1"}, diskimage.EmptyTree(mtime))
		out := diskimagetest.Run(t, "blkid", "-p", "-o", "export", image)
		for _, line := range []string{"TYPE=vfat", "VERSION=" + want, "UUID=" + fat.VolumeID(id),
			`LABEL_FATBOOT=BOOT\ \$1`,
			`LABEL=BOOT\ \$1`} {
			if !strings.Contains(out, line+"\n") {
				t.Errorf("%s: blkid: got\n%s\nwant %s", size, out, line)
			}
		}
	}
}

func TestVolumeIDIsTheStartOfTheUUID(t *testing.T) {
	t.Parallel()
	if got, want := fat.VolumeID(id), "DEB1-A400"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBootSectorKnowsWhereItsPartitionIs(t *testing.T) {
	t.Parallel()
	for _, size := range []diskimage.Size{5 * diskimage.MiB, 70 * diskimage.MiB} {
		image, _ := format(t, size, diskimage.Filesystem{UUID: id, StartLBA: 0x12345678}, diskimage.EmptyTree(mtime))
		out := diskimagetest.Run(t, "fsck.fat", "-n", "-v", image)
		if want := fmt.Sprintf("%d hidden sectors\n", 0x12345678); !strings.Contains(out, want) {
			t.Errorf("fsck.fat -v: got\n%s\nwant %s", out, want)
		}
	}
}

// TestPromisesOfAFormatter is not parallel, see fstest.TestWriter.
func TestPromisesOfAFormatter(t *testing.T) {
	var writers []fstest.Writer
	for _, size := range []diskimage.Size{5 * diskimage.MiB, 20 * diskimage.MiB, 70 * diskimage.MiB} {
		writers = append(writers, fstest.Writer{
			Name: size.String(), Formatter: fat.Formatter{}, Filesystem: diskimage.Filesystem{UUID: id, Time: mtime},
			Tree: tree(t, espFiles()), Size: size, NoInodes: true, Invalid: invalidTrees(t),
		})
	}
	fstest.TestWriter(t, writers...)
}

// invalidTrees returns what a FAT cannot hold.
func invalidTrees(t *testing.T) []fstest.Invalid {
	t.Helper()
	file := func(name string) diskimage.Entry { return diskimage.FileEntry(name, 0o644, nil, mtime) }
	huge := diskimage.Entry{Name: "d/huge", Mode: file("").Mode, Size: 1 << 32}
	var invalid []fstest.Invalid
	for part, add := range map[string][]diskimage.Entry{
		`"d/link" cannot be on a FAT file system: it is a symbolic link`: {
			diskimage.SymlinkEntry("d/link", "x", mtime)},
		`"d/huge" cannot be on a FAT file system: its 4294967296 bytes`: {huge},
		`"a:b" cannot be on a FAT file system: the name contains ':'`:   {file("a:b")},
		`"new\nline"`:              {file("new\nline")},
		`"dot." cannot`:            {file("dot.")},
		`"\xff" cannot`:            {file("\xff")},
		`256 UTF-16 units`:         {file(strings.Repeat("x", 256))},
		`"d/ä" cannot be on a FAT`: {file("d/ä"), file("d/Ä")},
	} {
		all, err := diskimage.Overlay(diskimage.EmptyTree(mtime), add...)
		if err != nil {
			t.Fatal(err)
		}
		invalid = append(invalid, fstest.Invalid{Name: part, Tree: all, Want: part})
	}
	return invalid
}

func TestFATLabelIsChecked(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"twelve chars", "a*b", "ümlaut", " front"} {
		_, err := fat.Formatter{}.Plan(5*diskimage.MiB, diskimage.Filesystem{Label: label}, diskimage.EmptyTree(mtime))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", label)) {
			t.Errorf("%q: got %v", label, err)
		}
	}
}

func TestFATThatIsTooSmallSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	many := make(map[string]string)
	for i := range 600 {
		many[fmt.Sprintf("F%d", i)] = ""
	}
	for what, c := range map[string]struct {
		size  diskimage.Size
		files map[string]string
	}{
		"clusters":                      {5 * diskimage.MiB, map[string]string{"big": strings.Repeat("x", 6<<20)}},
		"entries in the root directory": {5 * diskimage.MiB, many},
		"sectors":                       {10 * diskimage.KiB, nil},
	} {
		_, err := fat.Formatter{}.Plan(c.size, diskimage.Filesystem{}, tree(t, c.files))
		space := new(diskimage.NoSpaceError)
		if !errors.As(err, &space) || space.What != what || space.Needed <= space.Available {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestFATHoldsExactlyWhatItSays fills a file system to the last cluster, then plans one more.
func TestFATHoldsExactlyWhatItSays(t *testing.T) {
	t.Parallel()
	plan := func(length int) (diskimage.Volume, error) {
		return fat.Formatter{}.Plan(2*diskimage.MiB, diskimage.Filesystem{},
			tree(t, map[string]string{"f": strings.Repeat("x", length)}))
	}
	_, err := plan(4 << 20)
	space := new(diskimage.NoSpaceError)
	if !errors.As(err, &space) {
		t.Fatal(err)
	}
	full := int(space.Available * space.BlockSize)
	if _, err := plan(full + 1); !errors.As(err, &space) || space.Needed != space.Available+1 {
		t.Errorf("one byte more: got %v", err)
	}
	image, _ := format(t, 2*diskimage.MiB, diskimage.Filesystem{},
		tree(t, map[string]string{"f": strings.Repeat("x", full)}))
	diskimagetest.Fsck(t, image)
}

func TestFATStaysSparse(t *testing.T) {
	t.Parallel()
	spec := diskimage.Filesystem{UUID: id}
	v, err := fat.Formatter{}.Plan(100*diskimage.MiB, spec,
		tree(t, map[string]string{"zeros": strings.Repeat("\x00", 50<<20), "x": "x"}))
	if err != nil {
		t.Fatal(err)
	}
	counter := new(countingWriter)
	if err := v.Write(t.Context(), counter); err != nil {
		t.Fatal(err)
	}
	// The FAT entries of the zeros alone are 800 KiB.
	if counter.written > 2<<20 {
		t.Errorf("%d bytes were written for a file of zeros", counter.written)
	}
}

type countingWriter struct{ written int }

func (c *countingWriter) WriteAt(b []byte, _ int64) (int, error) {
	c.written += len(b)
	return len(b), nil
}

func TestImmutableFileIsReadOnlyHiddenSystem(t *testing.T) {
	t.Parallel()
	fixed := diskimage.FileEntry("LDLINUX.SYS", 0o444, []byte("x"), mtime)
	fixed.Immutable = true
	files, err := diskimage.Overlay(diskimage.EmptyTree(mtime), fixed,
		diskimage.FileEntry("PLAIN", 0o644, []byte("x"), mtime))
	if err != nil {
		t.Fatal(err)
	}
	image, _ := format(t, 5*diskimage.MiB, diskimage.Filesystem{UUID: id}, files)
	for name, want := range map[string]string{"LDLINUX.SYS": "ASHR", "PLAIN": "A"} {
		out := diskimagetest.Run(t, "mattrib", "-i", image, "::/"+name)
		attributes, _, _ := strings.Cut(out, "::")
		if got := strings.Join(strings.Fields(attributes), ""); got != want {
			t.Errorf("%s: mattrib says %q, want %s", name, out, want)
		}
	}
}
