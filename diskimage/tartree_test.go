// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pack returns an archive of members.
func pack(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o600
		}
		h.ModTime = testTime.Truncate(time.Second)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, strings.NewReader(strings.Repeat(h.Name, 1000)), h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func treeOf(archive []byte) (Tree, error) {
	return NewTarTree(bytes.NewReader(archive), int64(len(archive)))
}

func TestTarTreeRejectsHostileMembers(t *testing.T) {
	t.Parallel()
	for want, members := range map[string][]tar.Header{
		`member "../x": name "../x" leads out`: {{Name: "../x"}},
		`member "a/../../x"`:                   {{Name: "a/../../x"}},
		`member "x": hard link: name "../../etc/shadow" leads`: {{Name: "x", Typeflag: tar.TypeLink,
			Linkname: "../../etc/shadow"}},
		`member "x": hard link to "y", which is not in`: {{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}},
		`member "x": hard link to "d/", which is a directory`: {{Name: "d/", Typeflag: tar.TypeDir},
			{Name: "x", Typeflag: tar.TypeLink, Linkname: "d/"}},
		`member "etc/passwd": "etc" leads through too many symbolic links`: {{Name: "etc", Typeflag: tar.TypeSymlink,
			Linkname: "/etc"}, {Name: "etc/passwd"}},
		`member "etc/passwd": "etc" is not a directory`: {{Name: "etc"}, {Name: "etc/passwd"}},
		`member "lib/": it replaces the link to usr/lib by a directory, which would hide the files there: pack it as usr/lib`: {
			{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}, {Name: "lib/", Typeflag: tar.TypeDir}},
		`member "./": the root must be a directory`: {{Name: "./", Typeflag: tar.TypeSymlink, Linkname: "/"}},
		`no members`: {},
		`d/d/d/" (40000 bytes): it is a path of more than 4095 bytes`: {
			{Name: strings.Repeat("d/", 20_000), Typeflag: tar.TypeDir}},
		`member "l/x": "l" leads to a path of more than 4095 bytes`: {
			{Name: "l", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("d/", 20_000)}, {Name: "l/x"}},
	} {
		_, err := treeOf(pack(t, members...))
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("got %v, want %q in it, and nothing long", err, want)
		}
	}
}

// Issue 14, 12: GNU tar and container engines follow links in the directory of a member, within the
// tree.
func TestMembersBelowLinksAreWhereTheyLead(t *testing.T) {
	t.Parallel()
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	tree, err := treeOf(pack(t,
		tar.Header{Name: "usr/bin/a"}, link("bin", "usr/bin"), tar.Header{Name: "bin/tool"},
		tar.Header{Name: "bin/more"},
		link("usr/sbin", "bin"), tar.Header{Name: "usr/sbin/third"},
		link("var/run", "/run"), tar.Header{Name: "var/run/x/pid"},
		link("out", "../../../etc"), tar.Header{Name: "out/passwd"},
		tar.Header{Name: "bin/hard", Typeflag: tar.TypeLink, Linkname: "bin/tool"},
		link("bin/sh", "dash"), tar.Header{Name: "bin/sh"}, // the last part is replaced, not followed
	))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if !e.IsDir() {
			got = append(got, e.Name)
		}
	}
	slices.Sort(got)
	want := []string{"bin", "etc/passwd", "out", "run/x/pid", "usr/bin/a", "usr/bin/hard", "usr/bin/more", "usr/bin/sh",
		"usr/bin/third", "usr/bin/tool", "usr/sbin", "var/run"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Of two archives that followed each other only the first was read, without a word (issue 15, 6).
func TestArchivesThatFollowEachOtherAreOne(t *testing.T) {
	t.Parallel()
	archive := slices.Concat(pack(t, tar.Header{Name: "a", Size: 700}, tar.Header{Name: "b"}), make([]byte, 20*tarBlock),
		pack(t, tar.Header{Name: "a", Size: 5}, tar.Header{Name: "c", Typeflag: tar.TypeLink, Linkname: "b"}),
		[]byte(strings.Repeat("garbage", 1000)))
	sizes := func(tree Tree, err error) map[string]int64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		index, err := NewIndex(tree)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for name, e := range index {
			got[name] = e.Size
		}
		return got
	}
	want := map[string]int64{".": 0, "a": 5, "b": 0, "c": 0}
	if got := sizes(treeOf(archive)); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got := sizes(NewLayerTree(Layer{bytes.NewReader(archive), int64(len(archive))}))
	if want := (map[string]int64{".": 0, "a": 700, "b": 0}); !maps.Equal(got, want) {
		t.Errorf("a layer: got %v, want %v", got, want)
	}
}

func TestTarTreeRejectsOtherData(t *testing.T) {
	t.Parallel()
	whole := pack(t, tar.Header{Name: "file", Size: 2000})
	if _, err := treeOf(whole[:1500]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: got %v, want io.ErrUnexpectedEOF", err)
	}
	gzip := append([]byte{0x1f, 0x8b, 8}, bytes.Repeat([]byte("x"), 2000)...)
	if _, err := treeOf(gzip); !errors.Is(err, ErrNotTar) || !strings.Contains(err.Error(), "compressed") {
		t.Errorf("gzip: got %v", err)
	}
}

func TestTarTreeAddsMissingDirectories(t *testing.T) {
	t.Parallel()
	tree, err := treeOf(pack(t, tar.Header{Name: "./a/b/c", Size: 5, Uid: 7}, tar.Header{Name: "/absolute"}))
	if err != nil {
		t.Fatal(err)
	}
	entries := list(t, tree)
	if got, want := names(entries), ". a a/b a/b/c absolute"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, e := range entries[:3] {
		if e.Mode != unix.S_IFDIR|0o755 || e.UID != 0 || !e.ModTime.Equal(testTime.Truncate(time.Second)) {
			t.Errorf("%s: got mode %o, user %d, time %v", e.Name, e.Mode, e.UID, e.ModTime)
		}
	}
}

func TestTarTreeLaterMembersReplaceEarlierOnes(t *testing.T) {
	t.Parallel()
	tree, err := treeOf(pack(t, tar.Header{Name: "z", Size: 3},
		tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "z"},
		tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "./z"}, tar.Header{Name: "z", Size: 9}))
	if err != nil {
		t.Fatal(err)
	}
	entries := list(t, tree)
	if got, want := names(entries), ". a b=a z"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(content(t, entries[1])) + " " + string(content(t, entries[3])); got != "zzz zzzzzzzzz" {
		t.Errorf("got %q", got)
	}
}

func TestSparseContentReadsInAnyOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want := make([]byte, 1<<20)
	copy(want[500_000:], "middle")
	copy(want[1<<20-3:], "end")
	for at, part := range map[int64]string{500_000: "middle", 1<<20 - 3: "end"} {
		if _, err := file.WriteAt([]byte(part), at); err != nil {
			t.Fatal(err)
		}
	}
	entries := list(t, tarTestDir(t, root, "--sparse"))
	c, err := entries[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, at := range []int64{499_990, 0, 1<<20 - 10, 499_995, 1<<20 - 20} {
		got := make([]byte, 20)
		n, err := c.ReadAt(got, at)
		if end := min(at+20, 1<<20); !bytes.Equal(got[:n], want[at:end]) || err != nil &&
			(!errors.Is(err, io.EOF) || end-at == 20) {
			t.Errorf("at %d: got %q, %v; want %q", at, got[:n], err, want[at:end])
		}
	}
}

// GNU tar and bsdtar escape characters in names of attributes, because "=" ends the name of a pax
// record.
func TestTarTreeUndoesEscapesInNamesOfXattrs(t *testing.T) {
	t.Parallel()
	want := []Xattr{{"user.a=b%c", []byte("1\x002")}, {"user.umläut", []byte("3")}}
	for program, records := range map[string]map[string]string{
		"GNU tar": {"SCHILY.xattr.user.a%3Db%25c": "1\x002", "SCHILY.xattr.user.umläut": "3",
			"SCHILY.xattr.trusted.x": "left out"},
		"bsdtar": {"LIBARCHIVE.xattr.user.a%3Db%25c": "MQAy", "LIBARCHIVE.xattr.user.uml%C3%A4ut": "Mw"},
		"both": {
			"LIBARCHIVE.xattr.user.a%3Db%25c": "MQAy", "SCHILY.xattr.user.a%3Db%25c": "1\x002",
			"SCHILY.xattr.user.umläut": "3",
		},
	} {
		tree, err := treeOf(packRaw(t, rawMember{name: "f", records: records}))
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		if got := list(t, tree)[1].Xattrs; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", program, got, want)
		}
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(root, "f"), "user.a=b%3Dc", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	if got := list(t, tarTestDir(t, root))[1].Xattrs; len(got) != 1 || got[0].Name != "user.a=b%3Dc" {
		t.Errorf("from GNU tar: got %q", got)
	}
}

// rawMember is a member with arbitrary records, including those that archive/tar does not write.
type rawMember struct {
	name, linkname string
	kind           byte
	records        map[string]string
	global         bool
}

// packRaw returns an archive of pax headers and empty members.
func packRaw(t *testing.T, members ...rawMember) []byte {
	t.Helper()
	var b bytes.Buffer
	block := func(name string, kind byte, linkname string, size int) {
		var h [tarBlock]byte
		copy(h[tarName.offset:], name)
		copy(h[tarLinkname.offset:], linkname)
		copy(h[tarMagic.offset:], magicUSTAR+"00")
		copy(h[tarMode.offset:], "0000644")
		copy(h[tarSize.offset:], fmt.Sprintf("%011o", size))
		copy(h[tarChecksum.offset:], "        ")
		h[tarType] = kind
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[tarChecksum.offset:], fmt.Sprintf("%06o", sum))
		b.Write(h[:])
	}
	for _, m := range members {
		var text strings.Builder
		for _, key := range slices.Sorted(maps.Keys(m.records)) {
			record := " " + key + "=" + m.records[key] + "\n"
			length := len(record) + 1
			for len(fmt.Sprint(length))+len(record) != length {
				length++
			}
			fmt.Fprint(&text, length, record)
		}
		if text.Len() > 0 {
			kind := byte(typePax)
			if m.global {
				kind = typePaxGlobal
			}
			block("pax", kind, "", text.Len())
			b.WriteString(text.String() + strings.Repeat("\x00", int(roundUpTar(int64(text.Len())))-text.Len()))
		}
		block(m.name, max(m.kind, typeRegular), m.linkname, 0)
	}
	b.Write(make([]byte, 2*tarBlock))
	return b.Bytes()
}

func TestTarTreeReadsRecords(t *testing.T) {
	t.Parallel()
	tree, err := treeOf(packRaw(t,
		rawMember{name: "x", global: true, records: map[string]string{"uid": "5", "comment": "for all that follow"}},
		rawMember{name: "short", records: map[string]string{
			"path": "not utf-8 \xff", "uid": "4294967295", "gid": "70000", "mtime": "-1.25",
		}},
		rawMember{name: "far", records: map[string]string{"mtime": "15032385535.9999999999"}}))
	if err != nil {
		t.Fatal(err)
	}
	entries := list(t, tree)
	if got, want := names(entries), ". far not utf-8 \xff x"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if e := entries[2]; e.UID != 1<<32-1 || e.GID != 70000 || e.ModTime.UnixNano() != -1.25e9 {
		t.Errorf("got owner %d:%d, time %d", e.UID, e.GID, e.ModTime.UnixNano())
	}
	if e := entries[1]; e.UID != 5 || e.ModTime.Unix() != 15032385535 || e.ModTime.Nanosecond() != 999999999 {
		t.Errorf("got owner %d, time %v", e.UID, e.ModTime)
	}
}

func TestTarTreeRejectsUnsupportedMembers(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]rawMember{
		`member "f": its access control list has the text form`: {name: "f",
			records: map[string]string{"SCHILY.acl.access": "user::rw-"}},
		`member "f": unknown type 'D'`:                   {name: "f", kind: 'D'},
		`member "f": owner -1:0 is out of range`:         {name: "f", records: map[string]string{"uid": "-1"}},
		`member "f": pax record uid="x" is not a number`: {name: "f", records: map[string]string{"uid": "x"}},
		`member "f": pax record mtime="1.x"`:             {name: "f", records: map[string]string{"mtime": "1.x"}},
		`member "f": map of a sparse file of 5 bytes`: {name: "f", records: map[string]string{"GNU.sparse.size": "5",
			"GNU.sparse.map": "3,9"}},
		`member "f": sparse file of version "2"`: {name: "f", records: map[string]string{"GNU.sparse.size": "5",
			"GNU.sparse.major": "2"}},
		`member "f": archive ends inside its content`:      {name: "f", records: map[string]string{"size": "99999"}},
		`member "f\x00g": name "f\x00g" holds a zero byte`: {name: "x", records: map[string]string{"path": "f\x00g"}},
	} {
		_, err := treeOf(packRaw(t, m))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// An archive that was truncated anywhere is not accepted.
func TestTarTreeRejectsEveryTruncation(t *testing.T) {
	t.Parallel()
	whole := pack(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "file", Size: 1000, Uid: 1 << 30},
		tar.Header{Name: strings.Repeat("long/", 60) + "x", Size: 10})
	if _, err := treeOf(whole); err != nil {
		t.Fatal(err)
	}
	for length := 0; length <= len(whole)-2*tarBlock; length += 100 {
		if _, err := treeOf(whole[:length]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: got %v", length, len(whole), err)
		}
	}
	if _, err := NewTarTree(bytes.NewReader(whole[:700]), int64(len(whole))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file shorter than the given size: got %v", err)
	}
}

func TestTarTreeHolds100000Files(t *testing.T) {
	t.Parallel()
	var members []tar.Header
	for i := range 100_000 {
		members = append(members, tar.Header{Name: fmt.Sprintf("./%03d/%06d", i%1000, i), Format: tar.FormatUSTAR})
	}
	tree, err := treeOf(pack(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	count, last := 0, ""
	for e, err := range tree.Entries() {
		if err != nil || comparePaths(last, e.Name) >= 0 && last != "" {
			t.Fatalf("%q after %q, %v", e.Name, last, err)
		}
		count, last = count+1, e.Name
	}
	if count != 1+1000+100_000 {
		t.Errorf("got %d entries", count)
	}
}

func TestTarTreeKeepsHoles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const size = 5 << 30
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i := range int64(200) { // more than one block of entries in the old format
		if _, err := file.WriteAt([]byte("data"), i<<20); err != nil {
			t.Fatal(err)
		}
	}
	want := list(t, NewDirTree(root))[1].Data
	for _, args := range [][]string{{"--format=gnu", "--no-xattrs"}, {"--sparse-version=0.0"}, {"--sparse-version=0.1"},
		{"--sparse-version=1.0"}} {
		e := list(t, tarTestDir(t, root, append([]string{"--sparse"}, args...)...))[1]
		if e.Size != size || !slices.Equal(e.Data, want) {
			t.Errorf("tar %q: got size %d and %d parts, want %d and %d", args, e.Size, len(e.Data), size, len(want))
		}
		c, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 6)
		if _, err := c.ReadAt(got, 199<<20-1); err != nil || string(got) != "\x00data\x00" {
			t.Errorf("tar %q: got %q, %v", args, got, err)
		}
		c.Close()
	}
}

func FuzzTarTree(f *testing.F) {
	for _, format := range []tar.Format{tar.FormatPAX, tar.FormatGNU, tar.FormatUSTAR} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Name: "./", Typeflag: tar.TypeDir}, {Name: "./f", Typeflag: tar.TypeReg, Size: 3},
			{Name: "./l", Typeflag: tar.TypeLink, Linkname: "./f"},
			{Name: "./s", Typeflag: tar.TypeSymlink, Linkname: "f"},
		} {
			h.Format = format
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := w.Write([]byte("abc")); err != nil {
					f.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		tree, err := treeOf(archive)
		if err != nil {
			return
		}
		entries, err := tryList(tree)
		if err != nil {
			t.Fatal(err)
		}
		compareWithGo(t, archive, entries)
		seen := map[string]bool{".": true}
		for _, e := range entries {
			if !seen[parentOf(e.Name)] || strings.HasPrefix(e.Name, "/") || strings.Contains("/"+e.Name+"/", "/../") {
				t.Errorf("bad name %q", e.Name)
			}
			seen[e.Name] = e.IsDir()
			if e.Open == nil || e.Size > 1<<20 {
				continue
			}
			c, err := e.Open()
			if err != nil {
				t.Fatalf("open %q: %v", e.Name, err)
			}
			if n, err := c.ReadAt(make([]byte, 16), 0); err != nil && !errors.Is(err, io.EOF) &&
				!errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read %q: %d, %v", e.Name, n, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// compareWithGo compares a tree with the result of package archive/tar, if that reads the archive
// at all.
func compareWithGo(t *testing.T, archive []byte, entries []Entry) {
	t.Helper()
	type file struct {
		size    int64
		content string
		uid     uint32
	}
	want := map[string]file{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
		if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == tar.TypeLink || h.Size > 1<<20 {
			return // deliberately read differently, or too large to compare
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return
		}
		if name, err := cleanName(h.Name); err == nil {
			want[name] = file{h.Size, string(content), uint32(h.Uid)}
		}
	}
	for _, e := range entries {
		w, ok := want[e.Name]
		if !ok || !e.IsRegular() {
			continue
		}
		if got := (file{e.Size, string(content(t, e)), e.UID}); got != w {
			t.Errorf("%q: got %+v, archive/tar: %+v", e.Name, got, w)
		}
	}
}
