// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAppearOnlyAsDigests uses a different secret in each option that can hold one, and searches for all of them
// in what a build leaves, shares, prints and logs, except the root file system itself (issue 12, B11).
func TestSecretsAppearOnlyAsDigests(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	hook := "#!/bin/sh\nset -e\necho \"$TOKEN\" >\"$1/etc/token\"\n"
	if err := os.WriteFile(filepath.Join(o.dir, "hook.sh"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	secrets := []string{
		"root-secret", "user-secret", "mirror-secret", "mirror-token", "other-mirror", "apt-secret", "run-secret",
		"other-run", "failed-run", "env-secret", "proxy-secret", "place-secret", "wget-secret",
	}
	withUser := func(userinfo string) string { return strings.Replace(o.repo.URL(), "://", "://"+userinfo+"@", 1) }
	call := func(works bool, args ...string) string {
		t.Helper()
		cmd := o.command(state, append([]string{"--log=build.log", "--log-level=debug"}, args...)...)
		cmd.Env = append(cmd.Env, "TOKEN=env-secret", "ROOT_PASSWORD=root-secret",
			"https_proxy=http://joe:proxy-secret@127.0.0.1:1")
		out, err := cmd.CombinedOutput()
		if (err == nil) != works {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
		for _, secret := range secrets {
			if strings.Contains(string(out), secret) {
				t.Errorf("%q prints %q:\n%s", args, secret, out)
			}
		}
		return string(out)
	}
	system := func(mirror, command string) []string {
		return []string{
			"--root-password=root-secret", "--user=joe/user-secret", "--mirror=" + withUser(mirror), "--configure-apt",
			"--apt-mirror=http://joe:apt-secret@mirror.example/debian", "--run=" + command, "--customize=./hook.sh",
			"--cache-to=oci:share",
		}
	}
	call(true, system("joe:mirror-secret", "echo run-secret >/etc/run")...)
	files := o.files()
	if files["etc/run"] != "run-secret\n" || files["etc/token"] != "env-secret\n" {
		t.Errorf("the command and the hook made %q and %q", files["etc/run"], files["etc/token"])
	}
	if text := files["etc/apt/sources.list.d/base.sources"]; !strings.Contains(text, "joe:apt-secret@mirror.example") {
		t.Errorf("the image's apt sources lack the mirror:\n%s", text)
	}

	// All of them are inputs: a different secret makes a different result, and the explanation shows none.
	if text := call(true, system("joe:mirror-secret", "echo run-secret >/etc/run")...); strings.Contains(text,
		"run: ") {
		t.Errorf("the same build again:\n%s", text)
	}
	text := call(true, system("joe:mirror-secret", "echo other-run >/etc/run")...)
	if !strings.Contains(text, "its text changed") || o.files()["etc/run"] != "other-run\n" {
		t.Errorf("another command:\n%s", text)
	}
	for _, mirror := range []string{"joe:other-mirror", "mirror-token"} {
		text = call(true, system(mirror, "true")...)
		if !strings.Contains(text, "cached: ") && !strings.Contains(text, "run: bootstrap trixie") {
			t.Errorf("another password of the mirror:\n%s", text)
		}
	}

	for _, args := range [][]string{{"--dry-run"}, {"--dump-config"}} {
		call(true, append(system("joe:mirror-secret", "echo run-secret >/etc/run"), args...)...)
	}
	if out, err := vmdebootstrap(t, "cache", "list", "--state-dir", state).CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "bootstrap trixie") {
		t.Errorf("%v\n%s", err, out)
	} else {
		for _, secret := range secrets {
			if strings.Contains(string(out), secret) {
				t.Errorf("the list has %q:\n%s", secret, out)
			}
		}
	}

	// Errors.
	call(false, system("joe:mirror-secret", "exit 7 # failed-run")...)
	call(false, append(system("joe:mirror-secret", "true"), "--distribution=forky")...)
	call(false, "--mirror="+withUser("joe:mirror-secret")+"/nothing")
	call(false, "--mirror=http://joe:mirror-secret@127.0.0.1:1/debian")
	call(false, "--mirror=joe:mirror-secret@mirror.example/debian", "--apt-mirror=//joe:apt-secret@[bad")
	call(false, "--cache-from=docker://joe:place-secret@registry.example/cache",
		"--cache-to=docker:joe:place-secret@registry.example/cache")
	call(false, "--export=docker://joe:place-secret@registry.example/image", "--export=joe:place-secret@x")
	for _, from := range []string{"docker://joe:place-secret@registry.example/image",
		"http://joe:place-secret@registry.example/image"} {
		call2 := vmdebootstrap(t, "assemble", "--from="+from, "--image=x.img")
		call2.Dir = o.dir
		if out, err := call2.CombinedOutput(); err == nil || strings.Contains(string(out), "place-secret") {
			t.Errorf("assemble --from=%s: %v\n%s", from, err, out)
		}
	}
	// A program of the build that prints the URL of its files.
	o.repo.Add(deb("debootstrap", "2.0", "usr/sbin/debootstrap", "#!/bin/sh\necho \"I: Retrieving $*\"\nexit 1\n"))
	call(false, system("joe:wget-secret", "true")...)

	if err := os.Remove(filepath.Join(o.dir, "out.tar")); err != nil {
		t.Fatal(err)
	}
	grepTree(t, o.dir, secrets)
	grepTree(t, state, secrets)
}

// TestHiddenTextsAreRejectedAsSettings checks that the texts by which --dump-config replaces secrets are errors.
func TestHiddenTextsAreRejectedAsSettings(t *testing.T) {
	dir := t.TempDir()
	dump := vmdebootstrap(t, "--no-default-configs", "--tarball=x.tar",
		"--mirror=http://joe:geheim@mirror.example/debian", "--run=echo geheim", "--dump-config")
	text, err := dump.Output()
	if err != nil || strings.Contains(string(text), "geheim") {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := os.WriteFile(filepath.Join(dir, "dumped.conf"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	read := vmdebootstrap(t, "--no-default-configs", "--config=dumped.conf", "--dry-run")
	read.Dir = dir
	out, err := read.CombinedOutput()
	for _, flag := range []string{"--run", "--mirror"} {
		if err == nil || !strings.Contains(string(out), "ERROR: "+flag+": ") {
			t.Errorf("%s: %v\n%s", flag, err, out)
		}
	}
}
