// SPDX-License-Identifier: Apache-2.0

package tarfile_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"golang.org/x/sys/unix"
)

// entries is a tree that is defined by its entries.
type entries []diskimage.Entry

func (t entries) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		for _, e := range t {
			if !yield(e, nil) {
				return
			}
		}
	}
}

var testTime = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)

const (
	// netRaw is cap_net_raw=ep as struct vfs_cap_data, version 2.
	netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// userFive is the access control list user::rw-, user:5:r--, group::r--, mask::r--, other::---.
	userFive = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x05\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
)

// everything returns a tree with all that an archive can hold, including owners that only root can
// set.
func everything() entries {
	long := strings.Repeat(strings.Repeat("d", 99)+"/", 3)
	node := func(name string, mode, major, minor uint32) diskimage.Entry {
		return diskimage.Entry{Name: name, Mode: mode, Major: major, Minor: minor, ModTime: testTime}
	}
	file := func(name string, mode uint32, data string) diskimage.Entry {
		return diskimage.FileEntry(name, mode, []byte(data), testTime)
	}
	t := entries{
		diskimage.DirEntry(".", 0o755, testTime),
		node("blk", unix.S_IFBLK|0o660, 8, 17),
		node("chr", unix.S_IFCHR|0o666, 1, 3),
	}
	for i := range len(long) {
		if long[i] == '/' {
			t = append(t, diskimage.DirEntry(long[:i], 0o755, testTime))
		}
	}
	t = append(t,
		file(long+"file", 0o644, "far down"),
		file("empty", 0o600, ""),
		node("fifo", unix.S_IFIFO|0o620, 0, 0),
		file("large", 0o644, strings.Repeat("0123456789abcdef", 200_000)),
		diskimage.SymlinkEntry("link", "/etc/passwd", testTime),
		diskimage.SymlinkEntry("longlink", strings.Repeat("t/", 150), testTime),
		file("new\nline", 0o644, "n"),
		file("not-utf8-\xff", 0o644, "bytes"),
		file("old", 0o644, "before 1970"),
		file("owned", 0o640, "other"),
		file("ping", 0o755, "program"),
		file("su", 0o4755, "program"),
		file("z-su", 0o4755, "program"),
	)
	for i := range t {
		switch e := &t[i]; e.Name {
		case "owned":
			e.UID, e.GID = 1000, 4_000_000_000
			e.Xattrs = []diskimage.Xattr{{Name: "system.posix_acl_access", Value: []byte(userFive)},
				{Name: "user.bytes", Value: []byte("v\x00\n=")}}
		case "ping":
			e.Xattrs = []diskimage.Xattr{{Name: "security.capability", Value: []byte(netRaw)}}
		case "old":
			e.ModTime = time.Date(1969, 7, 20, 20, 17, 40, 500, time.UTC)
		case "z-su":
			e.HardLink, e.Open = "su", nil
		}
	}
	return t
}

// modest returns the part of everything that an ordinary user can unpack.
func modest() entries {
	t := slices.DeleteFunc(everything(), func(e diskimage.Entry) bool { return e.Name == "blk" || e.Name == "chr" })
	for i := range t {
		t[i].UID, t[i].GID = uint32(os.Getuid()), uint32(os.Getgid())
		t[i].Xattrs = slices.DeleteFunc(slices.Clone(t[i].Xattrs),
			func(x diskimage.Xattr) bool { return x.Name == "security.capability" })
	}
	return t
}

// write returns the archive of a tree.
func write(t testing.TB, tree diskimage.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tarfile.Write(t.Context(), &b, tree); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// writeFile writes an archive of a tree to a file and returns its name.
func writeFile(t *testing.T, tree diskimage.Tree) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(name, write(t, tree), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// describe returns a line for each entry of a tree, with its content.
func describe(t *testing.T, tree diskimage.Tree) []string {
	t.Helper()
	var lines []string
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, e.Size)
		if e.Open != nil {
			c, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			if n, err := c.ReadAt(data, 0); int64(n) != e.Size {
				t.Fatalf("read %q: %d bytes, %v", e.Name, n, err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		lines = append(lines, fmt.Sprintf(
			"%q -> %q %q mode %o owner %d:%d device %d,%d time %s xattrs %q content %.20q of %d",
			e.Name, e.Linkname, e.HardLink, e.Mode, e.UID, e.GID, e.Major, e.Minor, e.ModTime.UTC(), e.Xattrs, data,
			len(data)))
	}
	return lines
}

// compare fails the test if two descriptions differ.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("entry %d: got\n%s\nwant\n%s", i, g, w)
		}
	}
}

func TestArchiveReadsBackAsTheSameTree(t *testing.T) {
	t.Parallel()
	archive := write(t, everything())
	tree, err := diskimage.NewTarTree(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, describe(t, tree), describe(t, everything()))
}

func TestGNUTarExtractsTheSameTree(t *testing.T) {
	t.Parallel()
	tree := modest()
	if os.Geteuid() == 0 {
		tree = everything()
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", root, "-xpf",
		writeFile(t, tree))
	compare(t, describe(t, diskimage.NewDirTree(root)), describe(t, tree))
	if os.Geteuid() == 0 {
		if got := diskimagetest.Run(t, "getcap", filepath.Join(root, "ping")); !strings.HasSuffix(got,
			"ping cap_net_raw=ep\n") {
			t.Errorf("getcap: got %q", got)
		}
	}
}

func TestGNUTarListsOwnersAndNames(t *testing.T) {
	t.Parallel()
	list := diskimagetest.Run(t, "tar", "--numeric-owner", "--full-time", "--xattrs", "--xattrs-include=*", "-tvvf",
		writeFile(t, everything()))
	for _, want := range []string{
		"drwxr-xr-x  0/0               0 2024-02-29 12:00:00.123456789 ./\n",
		"brw-rw----  0/0            8,17 2024-02-29 12:00:00.123456789 ./blk\n",
		"-rw-r-----* 1000/4000000000   5 2024-02-29 12:00:00.123456789 ./owned\n",
		"hrwsr-xr-x  0/0               0 2024-02-29 12:00:00.123456789 ./z-su link to ./su\n",
		"lrwxrwxrwx  0/0               0 2024-02-29 12:00:00.123456789 ./link -> /etc/passwd\n",
		"\n  x: 20 security.capability\n",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
}

func TestHeadersNameNoUserOfThisHost(t *testing.T) {
	t.Parallel()
	r := tar.NewReader(bytes.NewReader(write(t, everything())))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			t.Errorf("%s: user %q, group %q, times %v, %v", h.Name, h.Uname, h.Gname, h.AccessTime, h.ChangeTime)
		}
	}
}

func TestRootAlwaysHasMode0755(t *testing.T) {
	t.Parallel()
	r := tar.NewReader(bytes.NewReader(write(t, diskimage.Tree(entries{diskimage.DirEntry(".", 0o700, testTime)}))))
	h, err := r.Next()
	if err != nil || h.Name != "./" || h.Mode != 0o755 {
		t.Errorf("got %+v, %v; want ./ with mode 0755", h, err)
	}
}

func TestSocketsAreLeftOut(t *testing.T) {
	t.Parallel()
	socket := diskimage.Entry{Name: "socket", Mode: unix.S_IFSOCK | 0o666, ModTime: testTime}
	other := socket
	other.Name, other.HardLink = "socket2", "socket"
	with := entries{diskimage.DirEntry(".", 0o755, testTime), socket, other,
		diskimage.FileEntry("x", 0o644, nil, testTime)}
	if !bytes.Equal(write(t, with), write(t, entries{with[0], with[3]})) {
		t.Error("the archive contains the socket")
	}
}

func TestXattrNamesAreEscapedAsGNUTarDoes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	tree := modest()[:1]
	tree[0].Xattrs = []diskimage.Xattr{{Name: "user.a=b%c", Value: []byte("value")}}
	diskimagetest.Run(t, "tar", "--xattrs", "--xattrs-include=*", "-C", root, "-xpf", writeFile(t, tree))
	value := make([]byte, 10)
	if n, err := unix.Getxattr(root, "user.a=b%c", value); err != nil || string(value[:n]) != "value" {
		t.Errorf("got %q, %v", value, err)
	}
}

func TestSameTreeResultsInSameBytes(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(write(t, everything()), write(t, everything())) {
		t.Error("two archives of one tree differ")
	}
}

// failing is content that fails after some bytes.
type failing struct {
	readable int64
	err      error
	closed   *bool
}

func (f failing) ReadAt(b []byte, offset int64) (int, error) {
	if n := f.readable - offset; n < int64(len(b)) {
		return int(max(n, 0)), f.err
	}
	return len(b), nil
}

func (f failing) Close() error { *f.closed = true; return nil }

// withContent returns a tree with one large file.
func withContent(size int64, c diskimage.Content) entries {
	return entries{diskimage.DirEntry(".", 0o755, testTime), {
		Name: "var/big", Mode: unix.S_IFREG | 0o644, Size: size,
		Open: func() (diskimage.Content, error) { return c, nil },
	}}
}

func TestErrorsNameTheMember(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct{ give, want error }{
		"truncated": {io.EOF, io.ErrUnexpectedEOF},
		"broken":    {broken, broken},
	} {
		closed := false
		err := tarfile.Write(t.Context(), io.Discard,
			withContent(5<<20, failing{readable: 3<<20 + 1, err: c.give, closed: &closed}))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), `member "var/big"`) || !closed {
			t.Errorf("%s: got %v, closed %v; want %v", name, err, closed, c.want)
		}
	}
	unknown := entries{{Name: "strange", Mode: 0o644}}
	if err := tarfile.Write(t.Context(), io.Discard, unknown); err == nil ||
		!strings.Contains(err.Error(), `member "strange": unknown file type`) {
		t.Errorf("unknown type: got %v", err)
	}
}

func TestWriteStopsWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	closed := false
	endless := failing{readable: 1 << 50, closed: &closed}
	tree := withContent(1<<50, endless)
	err := tarfile.Write(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }), tree)
	if !errors.Is(err, context.Canceled) || !closed {
		t.Errorf("got %v, closed %v", err, closed)
	}
}

func TestWriteReturnsTheErrorOfItsWriter(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	err := tarfile.Write(t.Context(), writerFunc(func([]byte) (int, error) { return 0, full }), everything())
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestFilesBeyondEightGiBKeepTheirSize(t *testing.T) {
	t.Parallel()
	const size = 9 << 30
	stop := errors.New("enough")
	closed := false
	var start bytes.Buffer
	if err := tarfile.Write(t.Context(), &start,
		withContent(size, failing{readable: 4 << 20, err: stop, closed: &closed})); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	r := tar.NewReader(&start)
	for range 2 {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "./var/big" && h.Size == size {
			return
		}
	}
	t.Error("the header does not hold the size")
}
