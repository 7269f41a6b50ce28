// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// guest are programs: one in place of QEMU, which prints a login prompt and then is a shell of the host, and two for
// that shell, which know one package and one unit.
var guest = map[string]string{
	"qemu-system-x86_64": "printf 'debian login: '\nread user\nprintf 'root@debian:~# '\nexec sh\n",
	"systemctl":          "[ $2 = ssh.service ] && echo active || { echo inactive; exit 3; }\n",
	"dpkg-query":         "[ $4 = bash ] && echo 'ii ' || { echo 'no packages found'; exit 1; }\n",
}

// installGuest puts programs into the test's PATH, and returns their directory.
func installGuest(t *testing.T, programs map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Issue 18, 8: a boot test as a gate.
func TestBootChecksTheSystem(t *testing.T) {
	dir := installGuest(t, guest)
	image := diskimagetest.MarkerDisk(t, "disk.img")
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	writeText(t, good, `
login-within: 1h
commands:
- run: echo hello; exit 3
  status: 3
  output: ^hel+o$
units: [ssh.service]
files: /etc/passwd
packages: [bash]
disk-use: {/: 100%, /proc: 1MB}
`)
	writeText(t, bad, `
commands:
- {run: "echo '<&> hello'", output: bye}
- {run: "true", status: 1}
units: [cron.service]
files: ["/no 'such' file"]
packages: [zsh]
disk-use: {/: 1kB}
`)
	junit := filepath.Join(dir, "junit.xml")
	test := func(checks string) (int, bootResult, junitSuites, string) {
		status, stdout, stderr := bootVerb(t, image, "--test", "--login=root", "--accel=tcg", "--json", "--junit="+junit,
			"--timeout=1m", "--checks="+checks)
		var result bootResult
		var suites junitSuites
		if err := json.Unmarshal([]byte(stdout), &result); err != nil {
			t.Fatalf("%v: %q, %q", err, stdout, stderr)
		}
		text, err := os.ReadFile(junit)
		if err := errors.Join(err, xml.Unmarshal(text, &suites)); err != nil {
			t.Fatal(err)
		}
		return status, result, suites, stderr
	}
	status, result, suites, stderr := test(good)
	if status != exitOK || len(result.Checks) != 7 || suites.Tests != 8 || suites.Failures != 0 {
		t.Errorf("status %d, %+v, %+v, %q", status, result, suites, stderr)
	}
	status, result, suites, stderr = test(bad)
	if status != exitFailed || !result.Booted || !strings.Contains(stderr, "6 of 6 checks failed") ||
		suites.Tests != 7 || suites.Failures != 6 || suites.Suites[0].Cases[0].Failure != nil {
		t.Errorf("status %d, %+v, %+v, %q", status, result, suites, stderr)
	}
	for _, want := range []checkResult{
		{Name: "unit cron.service", Error: "exit status 3, want 0", Output: "inactive\n"},
		{Name: "echo '<&> hello'", Error: `the output does not match "bye"`, Output: "<&> hello\n"},
		{Name: "true", Error: "exit status 0, want 1"},
	} {
		if !slices.ContainsFunc(result.Checks, func(c checkResult) bool { c.Seconds = 0; return c == want }) {
			t.Errorf("no check %+v in %+v", want, result.Checks)
		}
	}
}

// Each mistake has its line and key.
func TestReadChecksFindsMistakes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "checks.yaml")
	for text, want := range map[string]string{
		"":                                    ": no checks",
		"commands: []":                        ": no checks",
		"units: [":                            ": yaml: line 1",
		"- x":                                 ":1: checks: want a mapping",
		"files: [/x]\nunit: [x]\n":            `:2: checks: unknown key "unit" (did you mean units?); want one of`,
		"units: [x]\nfiles: [/x]\nunits: [y]": ":3: units: the key is there twice",
		"commands: [{status: 1}]\n":           `:1: commands: a command without "run"`,
		"commands: [true]\n":                  ":1: commands: want a mapping",
		"commands:\n- run: x\n  statsu: 1":    `:3: commands: unknown key "statsu" (did you mean status?)`,
		"commands:\n- run: x\n  output: (":    ":3: output: error parsing regexp",
		"commands:\n- run: x\n  status: 256":  `:3: status: "256" is no exit status`,
		"ports:\n- 22\n- 70000\n":             `:3: ports: "70000" is no number of a port`,
		"login-within: soon\n":                `:1: login-within: "soon" is no time`,
		"login-within: -1s\n":                 `:1: login-within: "-1s" is no time`,
		"files: [a, {b: c}]":                  ":1: files: want a list of texts",
		"packages:\n- bash\n-\n":              ":3: packages: the value is missing",
		"disk-use: {/: 101%}":                 `:1: disk-use: "/": "101%" is no directory and how much`,
		"disk-use: {var: 10%}":                `:1: disk-use: "var"`,
		"disk-use: 80%":                       ":1: disk-use: want a mapping",
	} {
		writeText(t, name, text)
		if _, err := readChecks(name); err == nil || !strings.Contains(err.Error(), name+want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	writeText(t, name, "unit: x\nports: 0\n")
	if _, err := readChecks(name); err == nil || strings.Count(err.Error(), name) != 2 {
		t.Errorf("got %v, want both mistakes", err)
	}
}

func TestShellWordIsOneWord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "''", "a/b.c:1": "a/b.c:1", "a b": "'a b'", "it's $x": `'it'\''s $x'`} {
		if got := shellWord(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// Issue 19, 2: --verbose showed nothing of the boot loader, and of the kernel until the passphrase was typed.
func TestBootUnlocksADisk(t *testing.T) {
	dir := installGuest(t, map[string]string{"qemu-system-x86_64": "printf 'GRUB\nPlease unlock disk root_crypt: '\n" +
		"read passphrase\n[ \"$passphrase\" = secret ] && printf '\nroot_crypt: set up successfully\ndebian login: ' ||\n" +
		"\tprintf '\nroot_crypt: bad password or options?\n'\nsleep 1000 & wait $!\n"})
	image := diskimagetest.MarkerDisk(t, "disk.img")
	for text, want := range map[string]int{"secret": exitOK, "mistaken": exitFailed} {
		writeText(t, filepath.Join(dir, "passphrase"), text+"\n")
		status, stdout, stderr := bootVerb(t, image, "--test", "--accel=tcg", "--verbose", "--timeout=1m",
			"--luks-passphrase="+filepath.Join(dir, "passphrase"))
		if status != want || !strings.Contains(stderr, "GRUB\n") || strings.Contains(stdout+stderr, text+"\n") {
			t.Errorf("%s: status %d, %q, %q", text, status, stdout, stderr)
		}
	}
}

// Issue 18, 8: an interrupted test says so in one line, and leaves nothing.
func TestInterruptedBootTestLeavesNothing(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	if err := unix.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	installGuest(t, map[string]string{"qemu-system-x86_64": "echo >" + started + "\nexec sleep 600\n"})
	image, results, temp := diskimagetest.MarkerDisk(t, "disk.img"), t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		_, _ = os.ReadFile(started) // waits for the machine
		interrupt()
	}()
	var out, stderr bytes.Buffer
	env := environment{dir: results, etc: t.TempDir(), now: time.Now, arch: "amd64", stat: os.Stat}
	status := run(ctx, []string{"boot", image, "--test", "--accel=tcg", "--junit=boot.xml", "--report=boot.html"}, &out,
		&stderr, env)
	if status != exitInterrupted || stderr.String() != "ERROR: interrupted\n" {
		t.Errorf("got status %d, %q, want %d", status, stderr.String(), exitInterrupted)
	}
	for _, dir := range []string{results, temp} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}
