// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// guest are programs: one in place of QEMU, which prints a login prompt and then is a shell of the host, and two for
// that shell, which know one package and one unit.
var guest = map[string]string{
	"qemu-system-x86_64": "printf 'debian login: '\nread user\nprintf 'root@debian:~# '\nexec sh\n",
	"systemctl":          "[ $2 = ssh.service ] && echo active || { echo inactive; exit 3; }\n",
	"dpkg-query":         "[ $4 = bash ] && echo 'ii ' || { echo 'no packages found'; exit 1; }\n",
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Issue 18, 8: a boot test as a gate.
func TestBootChecksTheSystem(t *testing.T) {
	dir := t.TempDir()
	for name, text := range guest {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	image := diskimagetest.MarkerDisk(t, "disk.img")
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	writeText(t, good, `
login-within: 1h
commands:
- run: echo hello; exit 3
  status: 3
  output: ^hel+o$
units: [ssh.service]
files: [/etc/passwd]
packages: [bash]
`)
	writeText(t, bad, `
commands:
- {run: "echo '<&> hello'", output: bye}
- {run: "true", status: 1}
units: [cron.service]
files: ["/no 'such' file"]
packages: [zsh]
`)
	junit := filepath.Join(dir, "junit.xml")
	test := func(checks string) (int, bootResult, junitSuite, string) {
		status, stdout, stderr := bootVerb(t, image, "--test", "--login=root", "--accel=tcg", "--json", "--junit="+junit,
			"--timeout=1m", "--checks="+checks)
		var result bootResult
		var suite junitSuite
		if err := json.Unmarshal([]byte(stdout), &result); err != nil {
			t.Fatalf("%v: %q, %q", err, stdout, stderr)
		}
		text, err := os.ReadFile(junit)
		if err := errors.Join(err, xml.Unmarshal(text, &suite)); err != nil {
			t.Fatal(err)
		}
		return status, result, suite, stderr
	}
	status, result, suite, stderr := test(good)
	if status != exitOK || len(result.Checks) != 5 || suite.Tests != 6 || suite.Failures != 0 {
		t.Errorf("status %d, %+v, %+v, %q", status, result, suite, stderr)
	}
	status, result, suite, stderr = test(bad)
	if status != exitFailed || !result.Booted || !strings.Contains(stderr, "5 of 5 checks failed") ||
		suite.Tests != 6 || suite.Failures != 5 || suite.Cases[0].Failure != nil {
		t.Errorf("status %d, %+v, %+v, %q", status, result, suite, stderr)
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

func TestReadChecksFindsMistakes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "checks.yaml")
	for text, want := range map[string]string{
		"": "no checks", "unit: [x]\n": "field unit not found", "commands: [{status: 1}]\n": `without "run"`,
		"commands: [{run: x, output: (}]\n": "error parsing regexp", "ports: [70000]\n": "cannot unmarshal",
		"login-within: soon\n": "cannot unmarshal",
	} {
		writeText(t, name, text)
		if _, err := readChecks(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
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
