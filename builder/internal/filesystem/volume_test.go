// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/btrfs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// hostTools runs the programs of this machine, with the sources of mounts in place of the mount points. epoch is
// SOURCE_DATE_EPOCH, or "".
func hostTools(t *testing.T, epoch string) Tools {
	run := func(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) (string, error) {
		var replacements []string
		for _, m := range mounts {
			replacements = append(replacements, m.Destination, m.Source)
		}
		for i, arg := range args {
			args[i] = strings.NewReplacer(replacements...).Replace(arg)
		}
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		if epoch != "" {
			cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
		}
		cmd.Stdin = strings.NewReader(stdin)
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	tree := func(dir string) diskimage.Tree { return diskimage.NewDirTree(dir) }
	return Tools{Run: run, Tree: tree, TempDir: t.TempDir()}
}

// testVolume returns a volume with the content of a directory.
func testVolume(tools Tools, fstype, dir string, size diskimage.Size) *Volume {
	return &Volume{
		Tools: tools, Filesystem: diskimage.Filesystem{Type: fstype, UUID: uuid.Max,
			Features: Features(fstype, "trixie")}, Size: size, Dir: dir,
	}
}

// oddTree makes a directory with everything that an ordinary user can create and that is easily lost.
func oddTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	must(os.MkdirAll(name("sub", "deeper"), 0o755))
	must(os.WriteFile(name("plain"), []byte("hello"), 0o600))
	must(os.WriteFile(name("large"), bytes.Repeat([]byte("0123456789abcdef"), 20_000), 0o644))
	must(os.WriteFile(name("bad\xff name\n"), nil, 0o644))
	must(os.WriteFile(name(":colon"), nil, 0o644))
	must(os.Link(name("plain"), name("sub", "again")))
	must(os.Symlink(strings.Repeat("x", 500), name("link")))
	must(unix.Mkfifo(name("fifo"), 0o640))
	must(os.Mkdir(name("tmp"), 0o755))
	must(os.Chmod(name("tmp"), 0o777|os.ModeSticky))
	must(os.Chtimes(name("plain"), time.Time{}, time.Unix(1_500_000_000, 0)))
	must(os.Chtimes(name("sub"), time.Time{}, time.Unix(1_400_000_000, 0)))
	return dir
}

// Issue 18, 3: with a time, these programs make the same bytes of the same files, whenever and wherever they were
// copied: a tmpfs lists a directory in another order than ext4. mkfs.btrfs does not.
func TestFilesystemsOfProgramsAreTheSameElsewhere(t *testing.T) {
	t.Parallel()
	first := oddTree(t)
	second, err := os.MkdirTemp("/dev/shm", "vmdebootstrap-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(second) })
	if out, err := exec.Command("cp", "--archive", first+"/.", second).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, fstype := range []string{"erofs", "squashfs"} {
		var sums [2][sha256.Size]byte
		for i, dir := range []string{first, second} {
			made, err := testVolume(hostTools(t, "1700000000"), fstype, dir, 200*diskimage.MiB).Make(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", fstype, err)
			}
			data, err := io.ReadAll(made)
			if err := errors.Join(err, made.Close()); err != nil {
				t.Fatal(err)
			}
			sums[i] = sha256.Sum256(data)
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: two images of the same files differ", fstype)
		}
	}
}

// Without mounts, the isolation chroot moves the sources of mounts into the toolbox: one in another was gone by then.
func TestNoMountOfAProgramIsInAnother(t *testing.T) {
	t.Parallel()
	var sources []string
	refused := errors.New("not here")
	v := testVolume(Tools{TempDir: t.TempDir(), Run: func(_ context.Context, mounts []specs.Mount, _ string, _ ...string) (
		string, error) {
		for _, m := range mounts {
			sources = append(sources, m.Source)
		}
		return "", refused
	}}, "squashfs", oddTree(t), 200*diskimage.MiB)
	v.EmptyDirs = []string{"sub", "none"}
	if _, err := v.Make(t.Context()); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if len(sources) != 3 {
		t.Errorf("mounted %q", sources)
	}
	for _, outer := range sources {
		for _, inner := range sources {
			if strings.HasPrefix(inner, outer+"/") {
				t.Errorf("%s is in %s", inner, outer)
			}
		}
	}
}

// Issue 18, 3: mkfs.btrfs and mkfs.xfs record each time that they find, also one of a later build of the same image.
func TestNoTimeIsLaterThanTheBuild(t *testing.T) {
	t.Parallel()
	dir := oddTree(t)
	latest := time.Unix(1_450_000_000, 0)
	v := testVolume(hostTools(t, ""), "btrfs", dir, 200*diskimage.MiB)
	v.Latest, v.EmptyDirs = latest, []string{"sub", "none"}
	made, err := v.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	tree, err := btrfs.New(made)
	if err != nil {
		t.Fatal(err)
	}
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Time{"plain": latest, "large": latest, "link": latest, "fifo": latest,
		"tmp": latest, "sub": time.Unix(1_400_000_000, 0)} {
		if got := index[name].ModTime; !got.Equal(want) {
			t.Errorf("%q: got the time %s, want %s", name, got, want)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "sub", "deeper")); err != nil || !info.ModTime().After(latest) {
		t.Errorf("%v: the time of a file changed that is not part of the file system", err)
	}
}

// TestReadOnlyFilesystemsKeepEverything unpacks the file systems with their own tools. It does not check hard links:
// fsck.erofs 1.5 makes copies of them.
func TestReadOnlyFilesystemsKeepEverything(t *testing.T) {
	t.Parallel()
	for fstype, unpack := range map[string]func(image, dir string) []string{
		"erofs": func(image, dir string) []string {
			return []string{"fsck.erofs", "--extract=" + dir, "--preserve-perms", image}
		},
		"squashfs": func(image, dir string) []string {
			return []string{"unsquashfs", "-no-progress", "-d", dir, image}
		},
	} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			diskimagetest.Tool(t, Lookup(fstype).Program.args(diskimage.Filesystem{}, "", "")[0])
			dir := oddTree(t)
			image := filepath.Join(t.TempDir(), "image")
			file, err := os.Create(image)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			v := testVolume(hostTools(t, ""), fstype, dir, 8*diskimage.MiB)
			if err := v.Write(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			if err := file.Truncate(8 << 20); err != nil { // a partition is longer than its content
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out")
			args := unpack(image, out)
			diskimagetest.Run(t, args[0], args[1:]...)
			want, got := listing(t, dir), listing(t, out)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// listing describes everything in a directory. Times are in seconds, as in squashfs.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	for e, err := range diskimage.NewDirTree(dir).Entries() {
		if err != nil {
			t.Fatal(err)
		}
		content := ""
		if e.Mode&unix.S_IFMT == unix.S_IFREG {
			data, err := os.ReadFile(filepath.Join(dir, e.Name))
			if err != nil {
				t.Fatal(err)
			}
			content = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		when := e.ModTime.Unix()
		if e.Mode&unix.S_IFMT == unix.S_IFLNK {
			when = 0 // fsck.erofs 1.5 does not set them
		}
		lines = append(lines, fmt.Sprintf("%q %o %d:%d %d %q %s", e.Name, e.Mode, e.UID, e.GID, when, e.Linkname,
			content))
	}
	return lines
}

func TestReadOnlyFilesystemMustFit(t *testing.T) {
	t.Parallel()
	tools := Tools{TempDir: t.TempDir(), Tree: func(dir string) diskimage.Tree { return diskimage.NewDirTree(dir) }}
	tools.Run = func(context.Context, []specs.Mount, string, ...string) (string, error) {
		made, err := filepath.Glob(filepath.Join(tools.TempDir, "mkfs-*", "image"))
		if err != nil || len(made) != 1 {
			t.Fatalf("got %v, %v", made, err)
		}
		return "", os.Truncate(made[0], 2<<20)
	}
	v := testVolume(tools, "erofs", t.TempDir(), 1*diskimage.MiB)
	var noSpace *diskimage.NoSpaceError
	if err := v.Write(t.Context(), nil); !errors.As(err, &noSpace) || noSpace.Needed != 2<<20 ||
		noSpace.Available != 1<<20 {
		t.Errorf("got %v", err)
	}
}
