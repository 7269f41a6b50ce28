// SPDX-License-Identifier: Apache-2.0

package step

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// accounts are the files of a target with a user.
var accounts = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n",
	"etc/group":  "root:x:0:\nwww:x:34:\nadm:x:4:www\n",
	"usr/sbin/":  "",
}

func containerContext(t *testing.T) (*Context, *targettest.Target) {
	t.Helper()
	f := targettest.New(t, accounts)
	return &Context{Target: f, Tmp: t.TempDir(), Archives: "/archives", Out: NewTail(nil)}, f
}

func TestContainerRunHasItsUserDirectoryAndVariables(t *testing.T) {
	t.Parallel()
	s, f := containerContext(t)
	run := ContainerRun{Args: []string{"sh", "-c", "x"}, Env: []string{"PATH=/opt", "A=b"}, Workdir: "/srv", User: "www"}
	if err := run.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	p := f.Processes[0]
	if p.Cwd != "/srv" || p.User.UID != 33 || p.User.GID != 34 || !slices.Equal(p.User.AdditionalGids, []uint32{4}) {
		t.Errorf("it runs in %s as %+v", p.Cwd, p.User)
	}
	for _, want := range []string{"PATH=/opt", "A=b", "HOME=/var/www", "DEBIAN_FRONTEND=noninteractive"} {
		if !slices.Contains(p.Env, want) {
			t.Errorf("no %s in %q", want, p.Env)
		}
	}
	if n := strings.Count(strings.Join(p.Env, "\n"), "PATH="); n != 1 {
		t.Errorf("PATH is set %d times", n)
	}
	if f.Readable(PolicyFile) != "(absent)" {
		t.Error("the policy of the build is left")
	}
	run.User = "nobody"
	if err := run.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), `user "nobody"`) {
		t.Errorf("an unknown user: %v", err)
	}
}

func TestContainerRunHasItsScript(t *testing.T) {
	t.Parallel()
	s, f := containerContext(t)
	run := ContainerRun{Args: []string{"/dev/pipes/script"}, Script: "#!/bin/x\n", ScriptFile: "/dev/pipes/script"}
	if err := run.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	mounts := f.Mounts[0]
	if m := mounts[len(mounts)-1]; m.Destination != "/dev/pipes/script" || !slices.Contains(m.Options, "ro") {
		t.Errorf("got %+v", m)
	}
	if left, err := os.ReadDir(s.Tmp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

func TestContainerWorkdirBelongsToTheUser(t *testing.T) {
	t.Parallel()
	s, f := containerContext(t)
	if err := (ContainerWorkdir{Path: "/etc/a/b/", User: "www"}).Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if f.Owners["/etc/a"] != "33:34" || f.Owners["/etc/a/b"] != "33:34" || f.Owners["/etc"] != "" {
		t.Errorf("owners: %v", f.Owners)
	}
}

// source returns a source with files, as Take makes it. name is that of the only file, or "" for a directory.
func source(t *testing.T, name string, files map[string]os.FileMode) CopySource {
	t.Helper()
	src := CopySource{Name: name, Copy: t.TempDir()}
	for file, mode := range files {
		path := filepath.Join(src.Copy, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return src
}

func TestContainerCopyPutsFilesWhereDockerDoes(t *testing.T) {
	t.Parallel()
	file := source(t, "f", map[string]os.FileMode{"f": 0o755 | os.ModeSetuid})
	dir := source(t, "", map[string]os.FileMode{"g": 0o640, "sub/h": 0o644})
	inline := CopySource{Name: "E", Inline: true, Text: "text"}
	for _, tt := range []struct {
		name string
		copy ContainerCopy
		want string // NAME MODE OWNER of each file
	}{
		{"a file gets the name", ContainerCopy{Sources: []CopySource{file}, Destination: "/opt/x"},
			"/opt/x urwxr-xr-x 0:0"},
		{"into a directory with a slash", ContainerCopy{Sources: []CopySource{file}, Destination: "/opt/x/"},
			"/opt/x/f urwxr-xr-x 0:0"},
		{"into a directory that is there", ContainerCopy{Sources: []CopySource{file}, Destination: "/etc"},
			"/etc/f urwxr-xr-x 0:0"},
		{"the content of a directory", ContainerCopy{Sources: []CopySource{dir}, Destination: "/srv"},
			"/srv/g -rw-r----- 0:0 /srv/sub/h -rw-r--r-- 0:0"},
		{"owner and mode", ContainerCopy{Sources: []CopySource{dir}, Destination: "/srv/", Chown: "www", Chmod: "4711"},
			"/srv/g urwx--x--x 33:34 /srv/sub/h urwx--x--x 33:34"},
		{"a number is the group as well", ContainerCopy{Sources: []CopySource{inline}, Destination: "/a/b", Chown: "7"},
			"/a/b -rw-r--r-- 7:7"},
		{"several", ContainerCopy{Sources: []CopySource{file, inline}, Destination: "/a/"},
			"/a/f urwxr-xr-x 0:0 /a/E -rw-r--r-- 0:0"},
	} {
		s, f := containerContext(t)
		if err := tt.copy.Run(t.Context(), s); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		fields := strings.Fields(tt.want)
		for i := 0; i < len(fields); i += 3 {
			info, err := f.Lstat(fields[i])
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if got := info.Mode().String() + " " + f.Owners[fields[i]]; got != fields[i+1]+" "+fields[i+2] {
				t.Errorf("%s: %s is %s", tt.name, fields[i], got)
			}
		}
	}
}

func TestContainerCopyUnpacksArchives(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 5, Gid: 6},
		{Name: "d/a", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 5, Gid: 6, Size: 1},
		{Name: "d/b", Typeflag: tar.TypeLink, Linkname: "d/a"},
		{Name: "d/c", Typeflag: tar.TypeSymlink, Linkname: "a"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("A")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(name, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for chown, want := range map[string]string{"": "5:6", "www": "33:34"} {
		s, f := containerContext(t)
		add := ContainerCopy{Sources: []CopySource{{Copy: name, Archive: true}}, Destination: "/opt", Chown: chown}
		if err := add.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if f.Readable("/opt/d/a") != "A" || f.Readable("/opt/d/b") != "A" || f.Readable("/opt/d/c") != "-> a" ||
			f.Owners["/opt/d/a"] != want || f.Owners["/opt/d"] != want {
			t.Errorf("chown %q: %q %q %q, owners %v", chown, f.Readable("/opt/d/a"), f.Readable("/opt/d/b"),
				f.Readable("/opt/d/c"), f.Owners)
		}
	}
}

func TestContainerCopyKeepsTheOwnersOfAStage(t *testing.T) {
	t.Parallel()
	s, f := containerContext(t)
	stage := targettest.New(t, map[string]string{"out/a": "A", "out/b.md": "B", "other": "O"})
	s.Stages = map[string]target.Target{"id": stage}
	copied := ContainerCopy{Stage: StageRef{ID: "id"}, Patterns: []string{"/out", "/oth*"}, Exclude: []string{"*.md"},
		Destination: "/opt/"}
	if err := copied.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	if f.Readable("/opt/a") != "A" || f.Readable("/opt/b.md") != "(absent)" || f.Readable("/opt/other") != "O" ||
		f.Owners["/opt/a"] != own || f.Owners["/opt/other"] != own {
		t.Errorf("got %q %q %q, owners %v", f.Readable("/opt/a"), f.Readable("/opt/b.md"), f.Readable("/opt/other"), f.Owners)
	}
	if got := copied.UsesStages(); !slices.Equal(got, []string{"id"}) {
		t.Errorf("it uses %q", got)
	}
	copied.Patterns = []string{"/none"}
	if err := copied.Run(t.Context(), s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestContainerRunLendsSecretsAndKeepsCaches(t *testing.T) {
	t.Parallel()
	s, f := containerContext(t)
	cache := targettest.New(t, nil)
	kept := 0
	s.CacheMount = func(context.Context, string) (target.Rootfs, func() error, error) {
		return cache, func() error { kept++; return nil }, nil
	}
	uid := uint32(os.Getuid())
	run := ContainerRun{Args: []string{"x"}, Mounts: []RunMount{
		{Type: "secret", ID: "a", Secret: secret.New("s3cret"), Target: "/run/secrets/a", Variable: "A", Mode: 0o400,
			UID: uid, GID: uint32(os.Getgid())},
		{Type: "cache", ID: "c", Target: "/c", Mode: 0o700, Write: true},
		{Type: "tmpfs", Target: "/t", Size: 4096},
	}}
	var lent string
	f.On = func([]string, io.Writer) error {
		for _, m := range f.Mounts[len(f.Mounts)-1] {
			if m.Destination == "/run/secrets/a" {
				text, err := os.ReadFile(m.Source)
				lent = string(text)
				return err
			}
		}
		return errors.New("no secret")
	}
	if err := run.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if lent != "s3cret" || kept != 1 || !slices.Contains(f.Env[0], "A=s3cret") {
		t.Errorf("lent %q, kept %d times, environment %q", lent, kept, f.Env[0])
	}
	if left, err := os.ReadDir(s.Tmp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	f.On = func([]string, io.Writer) error { return errors.New("failed") }
	if err := run.Run(t.Context(), s); err == nil || kept != 1 {
		t.Errorf("after a failure: %v, kept %d times", err, kept)
	}
}

func TestContainerBaseFillsTheTarget(t *testing.T) {
	t.Parallel()
	s, _ := containerContext(t)
	empty := targettest.New(t, nil)
	s.Target = empty
	files := source(t, "", map[string]os.FileMode{"a/b": 0o644})
	s.Bases = map[string]diskimage.Tree{"digest": diskimage.NewDirTree(files.Copy)}
	if err := (ContainerBase{Digest: "digest"}).Run(t.Context(), s); err != nil || empty.Readable("a/b") != "a/b" {
		t.Errorf("got %q, %v", empty.Readable("a/b"), err)
	}
}
