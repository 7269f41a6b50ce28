package diskimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pack makes an archive.
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

func TestTarTreeRefusesHostileMembers(t *testing.T) {
	t.Parallel()
	for want, members := range map[string][]tar.Header{
		`member "../x": name "../x" leads out`:                 {{Name: "../x"}},
		`member "a/../../x"`:                                   {{Name: "a/../../x"}},
		`member "x": hard link: name "../../etc/shadow" leads`: {{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}},
		`member "x": hard link to "y", which is not in`:        {{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}},
		`member "x": hard link to "d/", which is a directory`:  {{Name: "d/", Typeflag: tar.TypeDir}, {Name: "x", Typeflag: tar.TypeLink, Linkname: "d/"}},
		`member "etc/passwd": "etc" is not a directory`:        {{Name: "etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "etc/passwd"}},
		`member "./": the root must be a directory`:            {{Name: "./", Typeflag: tar.TypeSymlink, Linkname: "/"}},
		`no members`: {},
	} {
		_, err := treeOf(pack(t, members...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestTarTreeRefusesWhatIsNoArchive(t *testing.T) {
	t.Parallel()
	whole := pack(t, tar.Header{Name: "file", Size: 2000})
	if _, err := treeOf(whole[:1500]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: got %v, want io.ErrUnexpectedEOF", err)
	}
	gzip := append([]byte{0x1f, 0x8b, 8}, bytes.Repeat([]byte("x"), 2000)...)
	if _, err := treeOf(gzip); !errors.Is(err, errNoTar) || !strings.Contains(err.Error(), "compressed") {
		t.Errorf("gzip: got %v", err)
	}
}

func TestTarTreeMakesMissingDirectories(t *testing.T) {
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
	tree, err := treeOf(pack(t, tar.Header{Name: "z", Size: 3}, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "z"},
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
		if end := min(at+20, 1<<20); !bytes.Equal(got[:n], want[at:end]) || err != nil && (!errors.Is(err, io.EOF) || end-at == 20) {
			t.Errorf("at %d: got %q, %v; want %q", at, got[:n], err, want[at:end])
		}
	}
}

func FuzzTarTree(f *testing.F) {
	for _, format := range []tar.Format{tar.FormatPAX, tar.FormatGNU, tar.FormatUSTAR} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Name: "./", Typeflag: tar.TypeDir}, {Name: "./f", Typeflag: tar.TypeReg, Size: 3},
			{Name: "./l", Typeflag: tar.TypeLink, Linkname: "./f"}, {Name: "./s", Typeflag: tar.TypeSymlink, Linkname: "f"},
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
			if n, err := c.ReadAt(make([]byte, 16), 0); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read %q: %d, %v", e.Name, n, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
