// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDirTreeSeesHoles(t *testing.T) {
	t.Parallel()
	for _, e := range list(t, NewDirTree(makeTestDir(t))) {
		switch e.Name {
		case "sparse":
			total := int64(0)
			for _, x := range e.Data {
				total += x.Length
			}
			if len(e.Data) != 1 || total >= e.Size || e.Data[0].Offset > 1<<20 {
				t.Errorf("sparse: data is %v, want one piece around 1 MiB", e.Data)
			}
		case "hole":
			if e.Data == nil || len(e.Data) != 0 {
				t.Errorf("hole: data is %v, want none", e.Data)
			}
		case "a/deep/er/x":
			if e.Data != nil {
				t.Errorf("%s: data is %v, want nil", e.Name, e.Data)
			}
		}
	}
}

// A name that becomes a symbolic link between the walk and the reading must not lead to a file of
// the host.
func TestDirTreeNeverFollowsLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("secret!"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, swap := range []string{"d", "d/file"} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "d/file"), []byte("harmless"), 0o600); err != nil {
			t.Fatal(err)
		}
		entries := list(t, NewDirTree(root))
		if err := os.Rename(filepath.Join(root, swap), filepath.Join(root, "moved")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(outside, strings.TrimPrefix(swap, "d")), filepath.Join(root, swap)); err != nil {
			t.Fatal(err)
		}
		c, err := entries[2].Open()
		if err == nil {
			c.Close()
			t.Errorf("%s as a link: Open succeeded", swap)
		}
	}
}

func TestDirTreeReportsAReplacedFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	name := filepath.Join(root, "file")
	if err := os.WriteFile(name, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries := list(t, NewDirTree(root))
	if err := os.WriteFile(name, []byte("longer now"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := entries[1].Open()
	if err == nil {
		c.Close()
		t.Fatal("Open succeeded")
	}
	if !strings.Contains(err.Error(), "changed") || !strings.Contains(err.Error(), "file") {
		t.Errorf("got %v; want an error with the name and the reason", err)
	}
}

func TestDirTreeReportsAMissingDirectory(t *testing.T) {
	t.Parallel()
	if _, err := tryList(NewDirTree(filepath.Join(t.TempDir(), "missing"))); err == nil {
		t.Error("got no error")
	}
}

func TestKeepXattrLeavesOutHostAttributes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"user.x": true, "security.capability": true, "system.posix_acl_access": true, "system.posix_acl_default": true,
		"trusted.overlay.opaque": false, "user.overlay.opaque": false, "security.selinux": false,
		"user.containers.override_stat": false,
		"user.fuseoverlayfs.opaque":     false, "system.nfs4_acl": false,
	} {
		if got := keepXattr(name); got != want {
			t.Errorf("keepXattr(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestCapabilityOfUser0IsReadAsVersion2(t *testing.T) {
	t.Parallel()
	v3 := func(root uint32) []byte {
		b := make([]byte, capLength3)
		binary.LittleEndian.PutUint32(b, capRevision3|1) // with the effective bit
		b[5] = 0x20
		binary.LittleEndian.PutUint32(b[capLength2:], root)
		return b
	}
	want := make([]byte, capLength2)
	binary.LittleEndian.PutUint32(want, capRevision2|1)
	want[5] = 0x20
	if got := plainXattr("security.capability", v3(0)); !reflect.DeepEqual(got, want) {
		t.Errorf("root user 0: got % x, want % x", got, want)
	}
	if got := plainXattr("security.capability", v3(100000)); !reflect.DeepEqual(got, v3(100000)) {
		t.Errorf("another root user: got % x, want it unchanged", got)
	}
}

func TestOpenBelowRejectsPathsOutsideTheRoot(t *testing.T) {
	t.Parallel()
	root, err := os.OpenFile(t.TempDir(), unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"../x", "/etc/passwd", ".."} {
		if fd, err := openBelow(root, name, 0); err == nil {
			unix.Close(fd)
			t.Errorf("openBelow(%q) succeeded", name)
		}
	}
}

func TestOpenPartsFollowsNoLinks(t *testing.T) {
	t.Parallel()
	name := makeTestDir(t)
	if err := os.Symlink("a", filepath.Join(name, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenFile(name, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for path, want := range map[string]bool{"a/deep/er/x": true, "a-b": true, "link/file": false, "absolute": false,
		"a/missing/x": false} {
		fd, err := openParts(int(root.Fd()), path, 0)
		if (err == nil) != want {
			t.Errorf("%s: got %v", path, err)
		}
		if err == nil {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				t.Errorf("%s: got mode %#o, %v", path, st.Mode, err)
			}
			unix.Close(fd)
		}
	}
}

// The walk and the workers must not block each other, whatever the nesting of the directories.
func TestDirTreeReadsAheadInOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	want := []string{"."}
	for i := range 40 {
		for j := range 40 {
			name := fmt.Sprintf("%02d/%02d/%d", i, j, i*j)
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
			if j == 0 {
				want = append(want, fmt.Sprintf("%02d", i))
			}
			want = append(want, fmt.Sprintf("%02d/%02d", i, j), name)
		}
	}
	for range 5 {
		if got := names(list(t, NewDirTree(root))); got != strings.Join(want, " ") {
			t.Fatalf("got %s", got)
		}
	}
}

// A path has no maximum length; only the argument of one system call has.
func TestDirTreeReadsPathsLongerThanPATH_MAX(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.Repeat("d", 250)
	for range 20 { // 5,000 bytes
		err := unix.Mkdirat(fd, base, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, base, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	defer unix.Close(fd)
	file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	if _, err := unix.Write(file, []byte("deep down")); err != nil {
		t.Fatal(err)
	}
	entries := list(t, NewDirTree(root))
	if got := string(content(t, entries[len(entries)-1])); len(entries) != 22 || got != "deep down" {
		t.Errorf("got %d entries, the last with the content %q", len(entries), got)
	}
}

func TestXattrsAreReadWithoutListxattrat(t *testing.T) {
	t.Parallel()
	root, err := os.Open(makeTestDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dir := newOpenDir(root)
	for _, old := range []bool{false, true} {
		r := xattrReader{noCall: old}
		for base, want := range map[string]string{"a": "[{user.dir []}]", "absolute": "[]", "fifo": "[]"} {
			got, err := r.read(dir, base)
			if err != nil || fmt.Sprint(got) != want {
				t.Errorf("%s, without listxattrat %v: got %v, %v, want %s", base, old, got, err, want)
			}
		}
	}
}

// BenchmarkDirTree walks 20,000 files in 1,000 directories.
func BenchmarkDirTree(b *testing.B) {
	root := b.TempDir()
	for i := range 1000 {
		dir := filepath.Join(root, fmt.Sprint(i/50), fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 20 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range NewDirTree(root).Entries() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
