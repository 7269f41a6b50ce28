// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestBlobIsReadBackAsItIsPrinted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Blob{
		"u-boot.bin@8KiB":            {File: "u-boot.bin", Offset: 8 * diskimage.KiB},
		"rootfs:usr/lib/x.bin@1M":    {File: "/usr/lib/x.bin", Rootfs: true, Offset: diskimage.MB},
		"rootfs:/../../etc/passwd@0": {File: "/etc/passwd", Rootfs: true},
		"a@b@512":                    {File: "a@b", Offset: 512},
	} {
		got, err := ParseBlob(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, want)
		}
		if again, err := ParseBlob(got.String()); err != nil || again != got {
			t.Errorf("%q: printed as %q, which is %+v (%v)", text, got, again, err)
		}
	}
	for _, text := range []string{"u-boot.bin", "@8KiB", "rootfs:@8KiB", "u-boot.bin@", "u-boot.bin@here",
		"u-boot.bin@-1"} {
		if got, err := ParseBlob(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

// blobWorld is the test world with files to write to disks.
func blobWorld() World {
	w := testWorld()
	files := fstest.MapFS{
		"work/spl": {Data: make([]byte, 32<<10)}, "work/u-boot": {Data: make([]byte, 700<<10)},
		"work/code":    {Data: make([]byte, 440)},
		"work/nothing": {}, "work/dir": {Mode: fs.ModeDir | 0o755}, "work/big": {Data: make([]byte, 2<<20)},
	}
	stat := w.Stat
	w.Stat = func(name string) (fs.FileInfo, error) {
		if info, err := files.Stat(strings.TrimPrefix(name, "/")); err == nil {
			return info, nil
		}
		return stat(name)
	}
	return w
}

func TestBlobsAreComparedWithTheDiskBeforeTheBuild(t *testing.T) {
	t.Parallel()
	bare := func(o *Options) { o.Extlinux = false }
	gpt := func(o *Options) { o.Extlinux, o.PartType = false, "gpt" }
	room := func(o *Options) { o.Extlinux, o.Bootoffset = false, 16*diskimage.MiB }
	for _, test := range []struct {
		name   string
		change func(*Options)
		blobs  string
		want   string // in the error; "" for none
	}{
		{"in the gap", bare, "spl@8KiB u-boot@40KiB", ""},
		{"as boot code", bare, "code@0", ""},
		{"behind --bootoffset's room", room, "spl@8KiB big@2MiB", ""},
		{"of the root file system", bare, "rootfs:/u-boot@8KiB", ""},
		{"gap of extlinux", func(*Options) {}, "spl@512", ""},
		{"auto size", func(o *Options) { o.SizeAuto, o.Extlinux = true, false }, "spl@8KiB", ""},

		{"over each other", bare, "spl@8KiB u-boot@39KiB",
			"--raw /work/spl (bytes 8192 to 40959) and --raw /work/u-boot (bytes 39936 to 756735) overlap"},
		{"over the table", bare, "spl@0", "would overwrite the partition table (bytes 440 to 511)"},
		{"over the GPT", gpt, "spl@8KiB", "would overwrite the partition table (bytes 512 to 17407)"},
		{"over the backup GPT", gpt, "code@999999000", "would overwrite the partition table"},
		{"over a partition", bare, "big@8KiB", "partition 1 (root)"},
		{"rootfs over a partition", bare, "rootfs:/u-boot@1MiB", "partition 1 (root)"},
		{"over a partition of unknown size", func(o *Options) { o.SizeAuto, o.Extlinux = true, false }, "code@9GB",
			"partition 1 (root)"},
		{"beyond the disk", bare, "code@2GB", "does not fit on a disk of"},
		{"over extlinux", func(*Options) {}, "code@0", "boot code of extlinux"},
		{"over GRUB", func(o *Options) { o.Grub = true }, "spl@8KiB", "core.img of GRUB for BIOS (bytes 512 to 20991)"},
		{"missing", bare, "nosuch@8KiB", "nosuch"},
		{"empty", bare, "nothing@8KiB", "is empty"},
		{"directory", bare, "dir@8KiB", "is not a file"},
		{"no offset", bare, "code@5000000TiB", "largest possible offset"},
	} {
		o := options(test.change)
		for _, text := range strings.Fields(test.blobs) {
			b, err := ParseBlob(text)
			if err != nil {
				t.Fatal(err)
			}
			o.Blobs = append(o.Blobs, b)
		}
		_, err := NewSpec(o, blobWorld())
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) ||
			!strings.HasPrefix(err.Error(), "--raw: ")):
			t.Errorf("%s: got %v, want --raw and %q in it", test.name, err, test.want)
		}
	}
}

func FuzzParseBlob(f *testing.F) {
	for _, text := range []string{"u-boot.bin@8KiB", "rootfs:../x@0", "@", "a@b@1.5Mi", "rootfs:@1",
		"rootfs:rootfs:x@2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBlob(text)
		if err != nil {
			return
		}
		if again, err := ParseBlob(b.String()); err != nil || again != b {
			t.Errorf("%q is %+v, printed as %q, which is %+v (%v)", text, b, b, again, err)
		}
	})
}
