// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
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

// elsewhere calls rebuild --verify on another day, with another umask, time zone, locale, working directory and number
// of processors.
func (o *offline) elsewhere(args ...string) (string, error) {
	o.t.Helper()
	cmd := vmdebootstrap(o.t, append([]string{"rebuild", "--verify"}, args...)...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=", daysAhead+"=400", "TZ=Pacific/Chatham",
		"LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=1")
	// The test binary is the program by its first argument, which exec of bash can set.
	cmd.Args = slices.Concat([]string{"taskset", "-c", "0", "bash", "-c", `umask 077; exec -a "$0" "$@"`, programName,
		cmd.Path}, cmd.Args[1:])
	cmd.Path = diskimagetest.Tool(o.t, "taskset")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Issue 18, 3. The other accounts, file systems and boot loaders are in contrib/ci/test-rebuild.
func TestRebuildIsTheSameElsewhere(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.repo.Add(archivetest.Deb{Name: "f2fs-tools"})
	state, hook := o.machine(), o.writeHook("the-marker")
	for _, options := range []string{"--roottype=ext2", "--roottype=ext3", "--roottype=ext4", "--roottype=f2fs",
		"--bootsize=40M --boottype=vfat"} {
		o.build(state, append(strings.Fields(options), "--tarball=", "--image=out.img", "--size=auto", "--no-extlinux",
			"--no-mbr", "--lock-file=out.lock", "--user=alice", hook)...)
		text, err := o.elsewhere("out.lock", "out.img", "--state-dir="+o.machine())
		if err != nil || !strings.Contains(text, "out.img is what out.lock makes: all ") {
			t.Errorf("%s: %v: got %s", options, err, text)
		}
		for _, name := range []string{"out.img", "out.lock"} {
			if err := os.Remove(filepath.Join(o.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Issue 18, 3: what differs is named.
func TestRebuildNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	debugfs := diskimagetest.Tool(t, "debugfs")
	o := newOffline(t)
	state := o.machine()
	build := func(args ...string) {
		t.Helper()
		cmd := o.command(state, append(args, "--mirror="+o.repo.URL(), "--lock-root-password", "--tarball=",
			"--image=out.img", "--size=110M", "--no-extlinux", "--no-mbr")...)
		cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH=1700000000") // for the same IDs
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	build("--lock-file=out.lock", "--customize="+o.installs())
	verify := func(change, want string) {
		t.Helper()
		text, err := o.rebuild("--verify", "out.lock", "out.img", "--state-dir="+state)
		if err == nil || !strings.Contains(text, want) {
			t.Errorf("%s: %v: got %s\nwant %q in it", change, err, text, want)
		}
	}
	const first = "out.img (the first) differs from what out.lock makes (the second):\n  partition 1 (/): "
	cmd := exec.Command(debugfs, "-w", "-R", "set_inode_field /opt/more mtime 20200102030405",
		filepath.Join(o.dir, "out.img")+"?offset=1048576")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	verify("one time", first+"/opt/more: time\n")

	// An image of the same archive without one of the packages.
	hook := strings.Replace(o.content("installs.sh"), "less own", "own", 1)
	build("--customize=" + o.writeScript("fewer.sh", hook))
	verify("one package", "partition 1 (/): /var/lib/dpkg/status: ")
}

// Issue 18: an image that is damaged, encrypted or of an unknown file system is one sentence, and stays as it is. What
// is no image is refused before the work begins.
func TestRebuildOfOtherImagesIsOneSentence(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	o.build(state, "--tarball=", "--image=out.img", "--size=110M", "--no-extlinux", "--no-mbr", "--lock-file=out.lock",
		o.writeHook("the-marker"))
	made := o.content("out.img")
	const start, superBlock, label = 1 << 20, 1024, 0x78
	changed := func(at int, text string) string { return made[:at] + text + made[at+len(text):] }
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "etc/", Typeflag: tar.TypeDir}), w.Close()); err != nil {
		t.Fatal(err)
	}
	neither := filepath.Join(o.dir, "out.img") + " is neither a disk image nor a tar archive, compressed or not"
	for name, tt := range map[string]struct{ image, want string }{
		"empty":   {"", neither},
		"text":    {strings.Repeat("notes\n", 1000), neither},
		"tarball": {archive.String(), "out.img is no disk image, which out.lock is the lock of"},
		"half":    {made[:len(made)/2], filepath.Join(o.dir, "out.img") + ": partition 1 is outside the disk"},
		"damaged": {changed(start+superBlock+label, "x"), "partition 1 (linux): the file system of the first cannot be read: " +
			"superblock: the file system is damaged: checksum mismatch"},
		"encrypted": {changed(start, "LUKS\xba\xbe"+strings.Repeat("\x00", 4096)),
			`partition 1 (linux): type of the file system ("crypto_LUKS" and "ext4")`},
		"unknown": {changed(start, strings.Repeat("\x00", 4096)),
			`partition 1 (linux): type of the file system ("" and "ext4")`},
	} {
		if err := os.WriteFile(filepath.Join(o.dir, "out.img"), []byte(tt.image), 0o644); err != nil {
			t.Fatal(err)
		}
		want := "ERROR: " + tt.want + "\n"
		if strings.HasPrefix(tt.want, "partition") {
			want = "ERROR: out.img (the first) differs from what out.lock makes (the second):\n  " + tt.want + "\n"
		}
		text, err := o.rebuild("--verify", "out.lock", "out.img", "--state-dir="+state)
		if err == nil || !strings.HasSuffix(text, want) {
			t.Errorf("%s: %v: got %s\nwant %q at its end", name, err, text, want)
		}
		if !strings.HasPrefix(tt.want, "partition") && strings.Count(text, "\n") != 1 {
			t.Errorf("%s: the work had begun: %s", name, text)
		}
		if o.content("out.img") != tt.image || exists(t, filepath.Join(state, "rebuild", "store")) {
			t.Errorf("%s: something was written", name)
		}
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
