// SPDX-License-Identifier: Apache-2.0

package iso9660_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/iso9660"
)

var made = time.Date(2016, 11, 29, 20, 1, 2, 0, time.UTC)

// entries are files of many kinds. Some have identifiers that would be the same.
func entries() []diskimage.Entry {
	file := func(name, text string) diskimage.Entry { return diskimage.FileEntry(name, 0o644, []byte(text), made) }
	program := file("live/boot image", strings.Repeat("boot ", 2000))
	program.Mode, program.UID, program.GID, program.ModTime = unix.S_IFREG|0o4755, 1000, 70000, made.AddDate(-30, 0, 0)
	link := program
	link.Name, link.HardLink, link.Open = "live/second name", program.Name, nil
	holes := file("live/holes", strings.Repeat("\x00", 10000)+"end")
	holes.Data = []diskimage.Extent{{Offset: 10000, Length: 3}}
	long := strings.Repeat("long-name-", 26)[:255]
	all := []diskimage.Entry{
		file(".disk/info", "Debian\n"), file("empty", ""), program, link, holes,
		file("live/vmlinuz-6.12.57+deb13-amd64", "kernel"), file("live/vmlinuz-6.12.57-deb13-amd64", "other"),
		file("live/vmlinuz-6.12.57+deb13-amd64.old", "old"), file("live/a.b", "1"), file("live/a-b", "2"),
		file("live/a b", "3"), file("live/A.B", "4"), file(long, "long"), file("\xff-not-utf8", "bytes"),
		diskimage.DirEntry("a/b/c/d/e/f", 0o1777, made),
		diskimage.SymlinkEntry("absolute", "/live/./../a", made), diskimage.SymlinkEntry("a/up", "../../live/a.b", made),
		diskimage.SymlinkEntry(long[:254], "../"+long[:246], made),
	}
	for i := range 300 { // a directory of many blocks
		all = append(all, file(fmt.Sprintf("many/file number %d with a name of some length", i), fmt.Sprint(i)))
	}
	return all
}

func tree(t *testing.T, added ...diskimage.Entry) diskimage.Tree {
	t.Helper()
	tree, err := diskimage.Overlay(diskimage.EmptyTree(made), added...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// medium is one that boots everywhere, as far as its descriptors say.
func medium(t *testing.T, added ...diskimage.Entry) iso9660.Medium {
	return iso9660.Medium{
		VolumeID: "debian-trixie-amd64", Publisher: "SOMEBODY", Application: "TEST", Time: made,
		ID: uuid.MustParse("6a1e5b0c-7a70-4c53-9d0a-5d1b8e0f3c11"), Files: tree(t, added...), BIOSImage: "live/boot image",
		ESP: tree(t, diskimage.FileEntry("EFI/BOOT/BOOTX64.EFI", 0o644, bytes.Repeat([]byte("efi"), 1<<20), made)),
	}
}

// write writes a medium, and returns the name of its image.
func write(t *testing.T, m iso9660.Medium) (string, *iso9660.Plan) {
	t.Helper()
	plan, err := m.Plan()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "live.iso")
	err = diskimage.WriteFile(t.Context(), name, 0o644,
		func(f *os.File) error { return plan.Image.Write(t.Context(), f) })
	if err != nil {
		t.Fatal(err)
	}
	return name, plan
}

// describe lists a tree: what a medium records of each file, and its content.
func describe(t *testing.T, tree diskimage.Tree) []string {
	t.Helper()
	var lines []string
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		content := ""
		if e.Open != nil {
			r, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size))
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			content = string(data)
		}
		if e.HardLink == "" { // readers need not see that two names have the same blocks
			lines = append(lines, fmt.Sprintf("%q %o %d:%d %s %q %q", e.Name, e.Mode, e.UID, e.GID,
				e.ModTime.UTC().Format(time.DateTime), e.Linkname, content))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestOthersReadWhatIsWritten compares what libarchive finds, by the name of the disk and by that of the partition.
func TestOthersReadWhatIsWritten(t *testing.T) {
	t.Parallel()
	name, plan := write(t, medium(t, entries()...))
	partition := filepath.Join(t.TempDir(), "partition")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Image.Layout.Partitions[0]
	if err := os.WriteFile(partition, data[p.Start:p.End()], 0o644); err != nil {
		t.Fatal(err)
	}
	want := describe(t, tree(t, entries()...))
	for _, image := range []string{name, partition} {
		archive := filepath.Join(t.TempDir(), "all.tar")
		diskimagetest.Run(t, "bsdtar", "--format=pax", "-cf", archive, "@"+image)
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		read, err := diskimage.NewTarTree(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		got := describe(t, diskimage.Filter(read, func(e diskimage.Entry) bool { return e.Name != "live/second name" }))
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("%s: %d files, want %d; the first difference:\n%.400v\nwant\n%.400v", image, len(got), len(want),
					got[min(i, len(got)-1)], want[min(i, len(want)-1)])
			}
		}
	}
}

// TestXorrisoFindsFilesAndBootImages asks the program that makes Debian's own media.
func TestXorrisoFindsFilesAndBootImages(t *testing.T) {
	t.Parallel()
	name, plan := write(t, medium(t, entries()...))
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"-find", "/", "-exec", "lsdl"}, []string{
			`(?m)^-rwsr-xr-x +\S+ +1000 +70000 +10000 Nov 29  1986 '/live/boot image'$`,
			`(?m)^l\S+ .* '/absolute' -> '/live/\./\.\./a'$`, `(?m)^drwxrwxrwt .* '/a/b/c/d/e/f'$`,
			`(?m) '/many/file number 299 with a name of some length'$`, `(?m)^-rw-r--r-- .* 0 Nov 29  2016 '/empty'$`,
		}},
		{[]string{"-report_el_torito", "plain"}, []string{
			`(?m)^El Torito boot img : +1 +BIOS +y +none +0x0000 +0x00 +4 +\d+$`,
			`(?m)^El Torito boot img : +2 +UEFI +y +none +0x0000 +0x00 +\d+ +\d+$`, `(?m)^El Torito img path : +1 +/live/boot image$`,
		}},
		{[]string{"-report_system_area", "plain"}, []string{`GPT`, `GPT partition name +: +2 `}},
		{[]string{"-pvd_info"}, []string{`(?m)^Volume Id +: debian-trixie-amd64$`, `(?m)^Publisher Id *: SOMEBODY$`,
			`(?m)^Creation Time: 2016112920010200$`}},
		{[]string{"-check_media", "use=indev", "what=disc", "--"}, nil},
	} {
		got := diskimagetest.Run(t, "xorriso", append([]string{"-report_about", "SORRY", "-abort_on", "SORRY",
			"-return_with", "SORRY", "32", "-indev", name}, tt.args...)...)
		for _, want := range tt.want {
			if !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("xorriso %q says\n%s\nwhere %s is missing", tt.args, got, want)
			}
		}
	}
	// What it would call itself with for such a medium.
	mkisofs := diskimagetest.Run(t, "xorriso", "-indev", name, "-report_el_torito", "as_mkisofs")
	esp := plan.Image.Layout.Partitions[1]
	for _, want := range []string{"-V 'debian-trixie-amd64'", "-b '/live/boot image'", "-no-emul-boot",
		"-boot-load-size 4", "-eltorito-alt-boot",
		fmt.Sprintf("appended_partition_2_start_%ds_size_%dd",
			esp.Start/iso9660.BlockSize, esp.Sectors())} {
		if !strings.Contains(mkisofs, want) {
			t.Errorf("xorriso would be called with\n%s\nwhere %s is missing", mkisofs, want)
		}
	}
}

// TestPartitionsAreThoseOfADisk asks programs for disks.
func TestPartitionsAreThoseOfADisk(t *testing.T) {
	t.Parallel()
	name, _ := write(t, medium(t, entries()...))
	diskimagetest.Run(t, "sfdisk", "--verify", name)
	if got := diskimagetest.Run(t, "sgdisk", "-v", name); !strings.Contains(got, "No problems found") {
		t.Errorf("sgdisk says\n%s", got)
	}
	// A stick has room after the image. A third partition there keeps what a live system writes.
	if err := os.Truncate(name, 64<<20); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "sgdisk", "-e", "-n", "3:0:0", name)
	if got := diskimagetest.Run(t, "sgdisk", "-v", name); !strings.Contains(got, "No problems found") {
		t.Errorf("with a third partition, sgdisk says\n%s", got)
	}
	diskimagetest.Run(t, "bsdtar", "-tf", name)
}

// TestIsoinfoListsRockRidge reads with the program of cdrtools.
func TestIsoinfoListsRockRidge(t *testing.T) {
	t.Parallel()
	name, _ := write(t, medium(t, entries()...))
	text := diskimagetest.Run(t, "isoinfo", "-d", "-i", name)
	for _, want := range []string{"Volume id: debian-trixie-amd64", "Rock Ridge signatures version 1 found",
		"El Torito VD version 1 found"} {
		if !strings.Contains(text, want) {
			t.Errorf("isoinfo says\n%s\nwhere %s is missing", text, want)
		}
	}
	list := diskimagetest.Run(t, "isoinfo", "-R", "-l", "-i", name)
	for _, want := range []string{"vmlinuz-6.12.57+deb13-amd64", "absolute -> /live/./../a", "file number 299 with"} {
		if !strings.Contains(list, want) {
			t.Errorf("isoinfo lists\n%s\nwhere %s is missing", list, want)
		}
	}
}

// TestFilesOfFourGigabytesHaveSeveralExtents writes two sections of a file that is mostly a hole.
func TestFilesOfFourGigabytesHaveSeveralExtents(t *testing.T) {
	t.Parallel()
	const size = 5 << 30
	const text = "after four gigabytes"
	big := diskimage.FileEntry("big", 0o644, []byte(text), made)
	big.Size, big.Data = size, []diskimage.Extent{{Offset: size - int64(len(text)), Length: int64(len(text))}}
	big.Open = func() (diskimage.Content, error) { return shifted{size - int64(len(text)), text}, nil }
	m := medium(t, big)
	m.BIOSImage = ""
	name, _ := write(t, m)
	list := diskimagetest.Run(t, "xorriso", "-indev", name, "-find", "/big", "-exec", "report_lba")
	sections := regexp.MustCompile(`(?m)^File data lba: +\d+ , +(\d+) , +(\d+) , +5368709120 , '/big'$`).
		FindAllStringSubmatch(list, -1)
	if len(sections) != 2 {
		t.Fatalf("xorriso finds\n%s\nwant two sections", list)
	}
	var first, firstBlocks, second, secondBlocks int64
	if _, err := fmt.Sscan(strings.Join(slices.Concat(sections[0][1:], sections[1][1:]), " "), &first, &firstBlocks,
		&second, &secondBlocks); err != nil {
		t.Fatal(err)
	}
	if first+firstBlocks != second || (firstBlocks+secondBlocks)*iso9660.BlockSize != size {
		t.Errorf("xorriso finds\n%s\nwant sections that follow each other", list)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(text))
	end := (second + secondBlocks) * iso9660.BlockSize
	if _, err := f.ReadAt(got, end-int64(len(text))); err != nil || string(got) != text {
		t.Errorf("the end of the file is %q, %v; want %q", got, err, text)
	}
}

// shifted is a content with text at an offset.
type shifted struct {
	offset int64
	text   string
}

func (s shifted) ReadAt(b []byte, offset int64) (int, error) {
	return strings.NewReader(s.text).ReadAt(b, offset-s.offset)
}
func (shifted) Close() error { return nil }

// TestSameMediumSameBytes writes twice.
func TestSameMediumSameBytes(t *testing.T) {
	t.Parallel()
	var images [2][]byte
	for i := range images {
		name, _ := write(t, medium(t, entries()...))
		var err error
		if images[i], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two images of the same medium differ")
	}
}

// TestPlanRejectsWhatAMediumCannotHold names the file in each error.
func TestPlanRejectsWhatAMediumCannotHold(t *testing.T) {
	t.Parallel()
	device := diskimage.Entry{Name: "dev/null", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 3, ModTime: made}
	for _, tt := range []struct {
		name   string
		change func(*iso9660.Medium)
		want   string
	}{
		{"device", func(m *iso9660.Medium) { m.Files = tree(t, device) }, `"dev/null" is no file`},
		{"depth", func(m *iso9660.Medium) { m.Files = tree(t, diskimage.DirEntry("1/2/3/4/5/6/7/8", 0o755, made)) },
			`"1/2/3/4/5/6/7/8" is at level 9`},
		{"link", func(m *iso9660.Medium) {
			m.Files = tree(t, diskimage.SymlinkEntry("l", strings.Repeat("x", 1100), made))
		},
			`link "l" takes 1102 bytes`},
		{"volume ID", func(m *iso9660.Medium) { m.VolumeID = "a b" }, `' '`},
		{"long volume ID", func(m *iso9660.Medium) { m.VolumeID = strings.Repeat("x", 33) }, `33 bytes`},
		{"no volume ID", func(m *iso9660.Medium) { m.VolumeID = "" }, `is empty`},
		{"boot image", func(m *iso9660.Medium) { m.BIOSImage = "none" }, `none`},
		{"empty boot image", func(m *iso9660.Medium) { m.BIOSImage = "empty" }, `empty is empty`},
	} {
		m := medium(t, entries()...)
		tt.change(&m)
		if _, err := m.Plan(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}
