// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// looks is a hook that observes each file of its directory, and its environment, in a different way. It writes one line
// for each to the image.
const looks = `#!/bin/sh
set -e
echo left >/left
{
	cat current
	[ ! -e enable-debug ] || echo debug
	busybox stat -c 'size %s' data
	busybox stat -c 'mode %a' sub
	busybox readlink sub/link
	busybox env | busybox grep ^FLAVO || :
	busybox date -d @0 '+hour %H'
	busybox chroot "$1" sh /root/a.sh
} >"$1/etc/seen"
`

// TestBuildsReuseNoStaleResults is the table of issue 12, section C, in containers: build, change one thing,
// build again.
func TestBuildsReuseNoStaleResults(t *testing.T) {
	o := newOffline(t)
	state, dir := o.machine(), o.dir
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	link := func(text, name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		_ = os.Remove(path)
		must(t, os.Symlink(text, path))
	}
	write("hook", looks)
	write("second", "#!/bin/sh\n[ ! -e /left ] || echo left >>\"$1/etc/seen\"\n")
	write("v1", "version one\n")
	write("v2", "version two\n")
	write("data", "1")
	write("sub/x", "x")
	write("a.sh", "echo setup $VERSION\n")
	write("b.sh", "echo setup $VERSION\n")
	link("v1", "current")
	link("aa", "sub/link")
	copied, environ := "a.sh", []string{"TZ=UTC"}
	build := func() (seen, said string) {
		t.Helper()
		cmd := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password", "--copy-in=a.sh:/root/",
			"--copy-in="+copied+":/opt/", "--customize=./hook", "--customize=./second")
		cmd.Env = append(cmd.Env, environ...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if name := "opt/" + copied; o.has(name) != name {
			t.Errorf("/%s is not in the image:\n%s", name, out)
		}
		return o.files()["etc/seen"], string(out)
	}
	want := []string{"version one", "size 1", "mode 755", "aa", "hour 00", "setup"}
	if got, said := build(); got != strings.Join(want, "\n")+"\n" {
		t.Fatalf("the first build has %q:\n%s", got, said)
	}
	if _, said := build(); strings.Contains(said, "run: customize") || strings.Contains(said, "not kept: ") {
		t.Errorf("the same build runs hooks again:\n%s", said)
	}
	for _, tt := range []struct {
		what   string
		change func()
		old    string // a line that the hook wrote before
		now    string // what it writes after the change
		reason string // what --explain-cache prints
	}{
		{"another name of what is copied", func() { copied = "b.sh" }, "", "", `Name was "a.sh" and is "b.sh"`},
		{"where a link leads", func() { link("v2", "current") }, "version one", "version two",
			dir + "/current has changed"},
		{"a file that is looked for", func() { write("enable-debug", "") }, "size 1", "debug\nsize 1",
			dir + "/enable-debug has changed"},
		{"a size", func() { write("data", "22") }, "size 1", "size 2", dir + "/data has changed"},
		{"the mode of a directory", func() { must(t, os.Chmod(filepath.Join(dir, "sub"), 0o700)) }, "mode 755",
			"mode 700", dir + "/sub has changed"},
		{"the text of a link", func() { link("bb", "sub/link") }, "aa", "bb", dir + "/sub/link has changed"},
		{"a variable", func() { environ = append(environ, "FLAVOUR=sweet") }, "hour 00", "FLAVOUR=sweet\nhour 00",
			"the environment: FLAVOUR"},
		{"the time zone", func() { environ = append(environ, "TZ=XYZ-5") }, "hour 00", "hour 05",
			"the environment: TZ"},
		{"a variable of a script in the image", func() { environ = append(environ, "VERSION=7") }, "setup", "setup 7",
			"the environment: VERSION"},
		{"the last hook", func() {
			write("second",
				"#!/bin/sh\n[ ! -e /left ] || echo left again >>\"$1/etc/seen\"\n")
		},
			"", "", "cached: customize with " + dir + "/hook"},
	} {
		tt.change()
		if i := slices.Index(want, tt.old); i >= 0 {
			want = slices.Replace(want, i, i+1, strings.Split(tt.now, "\n")...)
		}
		got, said := build()
		if got != strings.Join(want, "\n")+"\n" {
			t.Errorf("%s: the image has %q, want %q", tt.what, got, want)
		}
		if !strings.Contains(said, tt.reason) {
			t.Errorf("%s: want %q in:\n%s", tt.what, tt.reason, said)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnotherCheckoutBeginsWithSharedResults clones the hook's directory twice, as two runners of a CI system do.
func TestAnotherCheckoutBeginsWithSharedResults(t *testing.T) {
	origin := t.TempDir()
	hook := "#!/bin/sh\nset -e\nmkdir \"$1/srv\"\ncp -r files \"$1/srv\"\nbusybox env | busybox sort >\"$1/srv/env\"\n"
	must(t, os.Mkdir(filepath.Join(origin, "files"), 0o755))
	must(t, os.WriteFile(filepath.Join(origin, "hook"), []byte(hook), 0o755))
	must(t, os.WriteFile(filepath.Join(origin, "files/data"), []byte("data"), 0o644))
	must(t, os.Symlink("data", filepath.Join(origin, "files/link")))
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.org"},
			args...)...)
		cmd.Dir = origin
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message=all")
	o, work := newOffline(t), t.TempDir()
	build := func(state string, n int, args ...string) string {
		t.Helper()
		o.dir = filepath.Join(work, fmt.Sprint(n))
		git("clone", "--quiet", origin, o.dir)
		cmd := o.command(state,
			append([]string{"--mirror=" + o.repo.URL(), "--lock-root-password", "--customize=./hook"}, args...)...)
		cmd.Env = append(cmd.Env, fmt.Sprintf("CI_JOB_ID=%d", n), fmt.Sprintf("SSH_CONNECTION=%d", n))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	location := "oci:" + filepath.Join(work, "share")
	build(o.machine(), 1, "--cache-to="+location)
	first := o.files()
	said := build(o.machine(), 2, "--cache-from="+location)
	if !strings.Contains(said, "cached: customize with ") || strings.Contains(said, "run: ") {
		t.Errorf("the second checkout runs something:\n%s", said)
	}
	if second := o.files(); second["srv/env"] != first["srv/env"] || second["srv/files/data"] != "data" ||
		strings.Contains(first["srv/env"], "CI_JOB_ID") {
		t.Errorf("the images have %q and %q", first["srv/env"], second["srv/env"])
	}
}
