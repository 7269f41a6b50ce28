// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// rebuild calls the verb in the directory of the builds.
func (o *offline) rebuild(args ...string) (string, error) {
	o.t.Helper()
	cmd := vmdebootstrap(o.t, append([]string{"rebuild"}, args...)...)
	cmd.Dir, cmd.Env = o.dir, append(os.Environ(), "http_proxy=", "HTTP_PROXY=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// writeHook writes a script that makes files in /opt and returns the option for it.
func (o *offline) writeHook(marker string) string {
	o.t.Helper()
	text := "#!/bin/sh\nmkdir -p $1/opt\necho " + marker + " >$1/opt/marker\n" +
		`printf 'Package: base\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n' >$1/var/lib/dpkg/status` + "\n"
	if err := os.WriteFile(filepath.Join(o.dir, "hook.sh"), []byte(text), 0o755); err != nil {
		o.t.Fatal(err)
	}
	return "--customize=./hook.sh"
}

// Issue 18, 3: an image is what its lock makes, although the mirror has newer packages; one byte more is named.
func TestRebuildVerifiesImages(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	o.build(state, "--tarball=", "--image=out.img", "--size=auto", "--free=7M", "--no-extlinux", "--no-mbr",
		"--lock-file=out.lock", "--user=alice/secret", o.writeHook("the-marker"))
	first := o.content("out.img")
	o.repo.Add(archivetest.Deb{Name: "less", Version: "2.0"})
	verify := []string{"--verify", "out.lock", "out.img", "--state-dir=" + state}
	secret := "--user=alice/secret"

	text, err := o.rebuild(append(verify, secret)...)
	if err != nil || !strings.Contains(text, "out.img is what out.lock makes: all ") {
		t.Fatalf("%v: got %s", err, text)
	}
	if o.content("out.img") != first {
		t.Error("the image was written")
	}
	if _, err := os.Stat(filepath.Join(state, "rebuild", "store")); err == nil {
		t.Error("the store of the rebuild is still there")
	}
	text, err = o.rebuild("out.lock", "again.img", "--state-dir="+state, secret)
	if err != nil || o.content("again.img") != first {
		t.Errorf("%v: the image was not made again: %s", err, text)
	}

	changed := bytes.Replace([]byte(first), []byte("the-marker\n"), []byte("the-mark3r\n"), 1)
	if err := os.WriteFile(filepath.Join(o.dir, "out.img"), changed, 0o644); err != nil {
		t.Fatal(err)
	}
	text, err = o.rebuild(append(verify, secret)...)
	want := "out.img (the first) differs from what out.lock makes (the second):\n  partition 1 (/): /opt/marker: content\n"
	if err == nil || !strings.Contains(text, want) {
		t.Errorf("%v: got %s\nwant %q in it", err, text, want)
	}
	text, err = o.rebuild(append(verify, "--user=alice/other")...)
	if err == nil || !strings.Contains(text, "partition 1 (/): /etc/") && !strings.Contains(text, "/opt/marker: content") {
		t.Errorf("another password: %v: got %s", err, text)
	}
	if text, err = o.rebuild(verify...); err == nil ||
		!strings.Contains(text, "ERROR: out.lock does not hold secrets: give --user as in the first build\n") {
		t.Errorf("without the secret: %v: got %s", err, text)
	}
	o.writeHook("another")
	text, err = o.rebuild(append(verify, secret)...)
	if want := "--lock-file: --customize hook.sh is not that of the lock: digest mismatch: want "; err == nil ||
		!strings.Contains(text, want) {
		t.Errorf("another hook: %v: got %s\nwant %q in it", err, text, want)
	}
}

func TestRebuildVerifiesTarballs(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	o.build(state, "--lock-file=out.lock", o.writeHook("the-marker"))
	text, err := o.rebuild("--verify", "out.lock", "out.tar", "--state-dir="+state)
	if err != nil || !strings.Contains(text, "out.tar is what out.lock makes: all ") {
		t.Fatalf("%v: got %s", err, text)
	}
	changed := strings.Replace(o.content("out.tar"), "the-marker\n", "the-mark3r\n", 1)
	if err := os.WriteFile(filepath.Join(o.dir, "out.tar"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err = o.rebuild("--verify", "out.lock", "out.tar", "--state-dir="+state)
	if err == nil || !strings.Contains(text, "(the second):\n  /opt/marker: content\n") {
		t.Errorf("%v: got %s", err, text)
	}
}
