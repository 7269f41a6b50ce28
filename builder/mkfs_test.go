package builder

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// hostToolbox runs the programs of this machine; what would be mounted is named by its own path instead.
type hostToolbox struct{ *fakeTarget }

func (h hostToolbox) Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader, out io.Writer) error {
	var places []string
	for _, m := range mounts {
		places = append(places, m.Destination, m.Source)
	}
	args := make([]string, len(p.Args))
	for i, arg := range p.Args {
		args[i] = strings.NewReplacer(places...).Replace(arg)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	return cmd.Run()
}

// testVolume is a volume of a directory whose programs run in toolbox.
func testVolume(t *testing.T, toolbox Target, fstype, dir string, size diskimage.Size) *programVolume {
	t.Helper()
	return &programVolume{
		site:    &site{toolbox: toolbox, tmp: t.TempDir(), log: slog.New(slog.DiscardHandler), out: newTail(nil)},
		program: mkfsPrograms[fstype], fs: diskimage.Filesystem{Type: fstype, UUID: uuid.Max, Features: featuresOf(fstype, "trixie")}, size: size, dir: dir,
	}
}

// oddTree makes a directory with what an ordinary user can make that is easily lost.
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

// TestReadOnlyFilesystemsKeepEverything has the programs' own readers unpack what was made. (Their hard links are no test:
// fsck.erofs 1.5 makes copies of them.)
func TestReadOnlyFilesystemsKeepEverything(t *testing.T) {
	t.Parallel()
	for fstype, unpack := range map[string]func(image, dir string) []string{
		"erofs": func(image, dir string) []string {
			return []string{"fsck.erofs", "--extract=" + dir, "--preserve-perms", image}
		},
		"squashfs": func(image, dir string) []string { return []string{"unsquashfs", "-no-progress", "-d", dir, image} },
	} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			diskimagetest.Tool(t, mkfsPrograms[fstype].args(diskimage.Filesystem{}, "", "")[0])
			dir := oddTree(t)
			image := filepath.Join(t.TempDir(), "image")
			file, err := os.Create(image)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			v := testVolume(t, hostToolbox{newFakeTarget(t, nil)}, fstype, dir, 8*diskimage.MiB)
			if err := v.Write(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			if err := file.Truncate(8 << 20); err != nil { // a partition is longer than what is in it
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

// listing describes all that is in a directory. Times are to the second: squashfs has no others.
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
			content = string(hashOf(string(data)))
		}
		when := e.ModTime.Unix()
		if e.Mode&unix.S_IFMT == unix.S_IFLNK {
			when = 0 // fsck.erofs 1.5 does not set them
		}
		lines = append(lines, fmt.Sprintf("%q %o %d:%d %d %q %s", e.Name, e.Mode, e.UID, e.GID, when, e.Linkname, content))
	}
	return lines
}

func TestReadOnlyFilesystemMustFit(t *testing.T) {
	t.Parallel()
	toolbox := newFakeTarget(t, nil)
	v := testVolume(t, toolbox, "erofs", t.TempDir(), 1*diskimage.MiB)
	toolbox.on = func([]string, io.Writer) error {
		made, err := filepath.Glob(filepath.Join(v.site.tmp, "mkfs-*", "image"))
		if err != nil || len(made) != 1 {
			t.Fatalf("got %v, %v", made, err)
		}
		return os.Truncate(made[0], 2<<20)
	}
	var noSpace *diskimage.NoSpaceError
	if err := v.Write(t.Context(), nil); !errors.As(err, &noSpace) || noSpace.Needed != 2<<20 || noSpace.Available != 1<<20 {
		t.Errorf("got %v", err)
	}
}

// aclOf is user::rwx, user:1234:r-x, group::r-x, mask::r-x, other::---, as getxattr(2) gives it.
const aclOf = "02000000" + "01000700ffffffff" + "02000500d2040000" + "04000500ffffffff" + "10000500ffffffff" + "20000000ffffffff"

func aclEntry(t *testing.T, name string) diskimage.Entry {
	t.Helper()
	value, err := hex.DecodeString(aclOf)
	if err != nil {
		t.Fatal(err)
	}
	return diskimage.Entry{Name: name, Xattrs: []diskimage.Xattr{{Name: "system.posix_acl_access", Value: value}, {Name: "user.x"}}}
}

func TestXFSGetsAccessControlLists(t *testing.T) {
	t.Parallel()
	toolbox := newFakeTarget(t, nil)
	v := testVolume(t, toolbox, "xfs", t.TempDir(), diskimage.GiB)
	work := t.TempDir()
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "var/log/journal")}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"path /var/log/journal\nattr_remove -u system.posix_acl_access\n",
		"path /var/log/journal\nattr_set -r -V /run/mkfs/work/acl-0-SGI_ACL_FILE SGI_ACL_FILE\n",
	}
	if !reflect.DeepEqual(toolbox.stdin, want) {
		t.Errorf("xfs_db was told %q, want %q", toolbox.stdin, want)
	}
	value, err := os.ReadFile(filepath.Join(work, "acl-0-SGI_ACL_FILE"))
	// As the kernel writes the same list on a mounted XFS.
	const onDisk = "00000005" + "00000001ffffffff00070000" + "00000002000004d200050000" + "00000004ffffffff00050000" +
		"00000010ffffffff00050000" + "00000020ffffffff00000000"
	if err != nil || hex.EncodeToString(value) != onDisk {
		t.Errorf("got %x (%v), want %s", value, err, onDisk)
	}

	toolbox.on = func(_ []string, out io.Writer) error {
		_, err := io.WriteString(out, "xfs_db> could not set attribute\n")
		return err
	}
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a")}); err == nil || !strings.Contains(err.Error(), "could not set") {
		t.Errorf("a complaint of xfs_db gave %v", err)
	}
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a b")}); err == nil || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("a name with a blank gave %v", err)
	}
}

func TestSquashfsLosesNoAccessControlListSilently(t *testing.T) {
	t.Parallel()
	if err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal")}); err != nil {
		t.Errorf("the journal's, which each start sets, gave %v", err)
	}
	err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal"), aclEntry(t, "srv/share")})
	if err == nil || !strings.Contains(err.Error(), "/srv/share has one: use --roottype=erofs") {
		t.Errorf("got %v", err)
	}
}

func TestXFSHasFeaturesOfTheRelease(t *testing.T) {
	t.Parallel()
	for codename, want := range map[string]string{
		"buster": "4.19", "bullseye": "5.10", "jammy": "5.10", "bookworm": "6.1", "noble": "6.1", "trixie": "6.12", "sid": "6.12", "unknown": "6.12",
	} {
		if got := featuresOf("xfs", codename); got != want {
			t.Errorf("%s: got those of Linux %s, want %s", codename, got, want)
		}
	}
}

// Tools of a newer release are taken only where the older ones would lose something.
func TestToolboxIsOfTheFirstFaithfulRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suite, roottype, image string
		fromTarget             bool
		want                   string
	}{
		{"trixie", "ext4", "/out/x.img", true, "trixie"},
		{"bookworm", "erofs", "/out/x.img", true, "trixie"},
		{"bookworm", "xfs", "/out/x.img", false, "forky"},
		{"sid", "xfs", "/out/x.img", true, "forky"},
		{"bookworm", "xfs", "", true, "trixie"},
		{"buster", "xfs", "/out/x.img", false, "forky"},
		{"buster", "ext4", "/out/x.img", false, "trixie"},
	} {
		s := testSpec(t, func(o *Options) {
			o.Distribution, o.Roottype, o.Image, o.Bootsize = tt.suite, tt.roottype, tt.image, 256*diskimage.MiB
			if tt.image == "" {
				o.Tarball = "/out/x.tar"
			}
		})
		if s.toolsFromTarget() != tt.fromTarget || s.toolboxSuite() != tt.want {
			t.Errorf("%+v: got %v, %s", tt, s.toolsFromTarget(), s.toolboxSuite())
		}
	}
}
