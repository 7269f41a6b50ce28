// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestFormatsChooseNamesOfFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		image   string
		formats string
		change  func(*Options)
		want    string
	}{
		{"x.img", "", nil, "x.img:raw"},
		{"x", "", nil, "x:raw"},
		{"x.iso", "", nil, "x.iso:raw"},
		{"x.QCOW2", "", nil, "x.QCOW2:qcow2"},
		{"x.vmdk", "", nil, "x.vmdk:vmdk"},
		{"x.img", "", func(o *Options) { o.ConvertQcow2 = true }, "x.img:qcow2"},
		{"x.qcow2", "raw", nil, "x.qcow2:raw"},
		{"x.img", "qcow2", nil, "x.img:qcow2"},
		{"x.img", "raw,qcow2", nil, "x.img:raw x.qcow2:qcow2"},
		{"x.img", "qcow2 , raw,qcow2", nil, "x.qcow2:qcow2 x.img:raw"},
		{"x", "raw,vdi", nil, "x.img:raw x.vdi:vdi"},
		{"x.raw", "raw,vhd-fixed", nil, "x.raw:raw x.vhd:vhd-fixed"},
		{"debian-12.5", "raw,qcow2", nil, "debian-12.5.img:raw debian-12.5.qcow2:qcow2"},
		{"x.img", "raw,qcow2,vmdk", func(o *Options) { o.Compress = "zlib" },
			"x.img:raw x.qcow2:qcow2+zlib x.vmdk:vmdk+zlib"},
		{"x.img", "raw,qcow2", func(o *Options) { o.Bmap = true }, "x.img:raw x.qcow2:qcow2 x.img.bmap"},
	} {
		spec := mustSpec(t, func(o *Options) {
			o.Image = test.image
			if test.formats != "" {
				o.Formats = []string{test.formats}
			}
			if test.change != nil {
				test.change(o)
			}
		})
		d, err := newDisk(spec, Lock{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range d.Files {
			text := f.Name + ":" + f.Format
			if f.Compress != "" {
				text += "+" + f.Compress
			}
			got = append(got, text)
		}
		if d.BlockMap != "" {
			got = append(got, d.BlockMap)
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s as %q: got %s, want %s", test.image, test.formats, text, test.want)
		}
		if names := spec.Outputs(); fmt.Sprint(names) != fmt.Sprint(d.fileNames()) {
			t.Errorf("%s as %q: outputs %v are not the files %v", test.image, test.formats, names, d.fileNames())
		}
	}
}

func TestDiskOptionsAreCheckedTogether(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"unknown format", func(o *Options) { o.Formats = []string{"qcow"} },
			`--format: unknown image format "qcow"; want one of raw, qcow2`},
		{"two of one name", func(o *Options) { o.Formats = []string{"vhd,vhd-fixed"} },
			`--format: vhd and vhd-fixed would both be written to "new.vhd"`},
		{"compressed raw", func(o *Options) { o.Compress = "zstd" },
			`--compress: unknown compression "zstd" of image format raw; want one of none`},
		{"unknown compression", func(o *Options) { o.Formats, o.Compress = []string{"qcow2"}, "xz" },
			`--compress: unknown compression "xz"`},
		{"two wishes", func(o *Options) { o.ConvertQcow2, o.Formats = true, []string{"vdi"} },
			"--convert-qcow2: --format asks"},
		{"map of a qcow2", func(o *Options) { o.Bmap, o.Formats = true, []string{"qcow2"} },
			"--bmap: is for raw images"},
		{"over another file", func(o *Options) { o.Image, o.Formats = "/work/live", []string{"raw,vdi"} }, ""},
		{"in the way", func(o *Options) { o.Image = "/work/live" }, "--image: "},
		{"free without auto", func(o *Options) { o.Free = Space{Percent: 10} }, "--free: is for --size=auto"},
		{"free on a squashfs", func(o *Options) {
			o.SizeAuto, o.Free, o.Roottype, o.Bootsize = true, Space{Percent: 10}, "squashfs", 256*diskimage.MiB
		}, "--free: is of no use with --roottype=squashfs"},
		{"auto without image", func(o *Options) { o.Image, o.Tarball, o.SizeAuto = "", "x.tar", true },
			"--size: needs --image"},
		{"format without image", func(o *Options) { o.Image, o.Tarball, o.Formats = "", "x.tar", []string{"raw"} },
			"--format: needs --image"},
		{"sectors of 1024", func(o *Options) { o.SectorSize = 1024 }, "--sector-size: 1024 is not possible"},
		{"4K with extlinux", func(o *Options) { o.SectorSize = 4096 }, "--sector-size: extlinux cannot be booted"},
		{"4K with GRUB", func(o *Options) { o.SectorSize, o.Grub = 4096, true },
			"--sector-size: GRUB for BIOS cannot be booted"},
		{"4K with UEFI", func(o *Options) { o.SectorSize, o.Grub, o.UseUEFI = 4096, true, true }, ""},
		{"4K in a vdi", func(o *Options) { o.SectorSize, o.Extlinux, o.Formats = 4096, false, []string{"vdi"} },
			"--sector-size: a disk in a vdi file has sectors of 512"},
		{"flag of the other table", func(o *Options) { o.Bootflag = "legacy_boot" },
			`--bootflag: "legacy_boot" is no flag of a partition in a table of --part-type=msdos: choose from `},
		{"partitions too large together",
			func(o *Options) { o.Bootsize, o.Swap, o.Size = 450*diskimage.MB, 500*diskimage.MiB, 976*diskimage.MB },
			"--image: lay out new.img"},
	} {
		_, err := NewSpec(options(test.change), testWorld())
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}
