// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// screen is the beginning of a program in place of QEMU, which has a screen of one pixel.
const screen = `
while read -r line; do
	case $line in
	*screendump*)
		file=${line#*filename\":\"}
		printf 'P6\n1 1\n255\nabc' >"${file%%\"*}"
		echo '{"return": {}, "id": "command"}' ;;
	*) echo '{"return": {}}' ;;
	esac
done <&3 >&3 &
trap "kill $!" EXIT
`

// validJUnit checks a JUnit file with a reader of XML that is not ours, and its schema.
func validJUnit(t *testing.T, name string) {
	t.Helper()
	diskimagetest.Run(t, diskimagetest.Tool(t, "xmllint"), "--noout", "--schema", "testdata/junit.xsd", name)
}

// Issue 18, 8: several images and kinds of firmware in one call.
func TestBootTestsAMatrix(t *testing.T) {
	diskimagetest.File(t, "/usr/share/OVMF/OVMF_CODE_4M.fd")
	dir := installGuest(t, map[string]string{
		"qemu-system-x86_64": screen + `
case "$*" in
*bad.img*pflash*|*pflash*bad.img*) printf 'No bootable device \001\n'; sleep 1000 & wait $! ;;
*) printf 'debian login: '; read user; printf 'root@debian:~# '; sh ;;
esac
`,
	})
	good, bad := diskimagetest.MarkerDisk(t, "good.img"), diskimagetest.MarkerDisk(t, "bad.img")
	checks, junit := filepath.Join(dir, "checks.yaml"), filepath.Join(dir, "boot.xml")
	writeText(t, checks, "files: [/etc/passwd]\n")
	args := []string{good, bad, "--test", "--firmware", "bios,uefi", "--login", "root", "--accel", "tcg",
		"--checks", checks, "--junit", junit, "--timeout", "1m"}
	status, stdout, stderr := bootVerb(t, args...)
	words := strings.Fields(stdout)
	for _, want := range [][]string{{bad, "uefi", "FAILED", "-", "-"}, {good, "uefi", "ok"}, {"s", "1", "of", "1"}} {
		if !strings.Contains(strings.Join(words, " "), strings.Join(want, " ")) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	if status != exitFailed || !strings.Contains(stderr, "1 of 4 boot tests failed") ||
		!strings.Contains(stderr, bad+` with uefi: "login: " was not seen: the console shows "No bootable`) {
		t.Errorf("status %d, %q", status, stderr)
	}
	validJUnit(t, junit)
	text := readFile(t, junit)
	picture := filepath.Join(dir, "bad.img-uefi.png")
	for _, want := range []string{`tests="7" failures="1" errors="0"`, `<testsuite name="` + good, "ATTACHMENT|" + picture,
		"No bootable device \uFFFD"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if _, err := png.Decode(strings.NewReader(readFile(t, picture))); err != nil {
		t.Errorf("%s: %v", picture, err)
	}
	pictures := t.TempDir()
	status, stdout, _ = bootVerb(t, append(args, "--json", "--screenshots", pictures)...)
	var results []bootResult
	if err := json.Unmarshal([]byte(stdout), &results); err != nil || status != exitFailed || len(results) != 4 ||
		results[3].Booted || results[3].Screenshot != filepath.Join(pictures, "bad.img-uefi.png") || !results[2].Booted ||
		results[0].Screenshot != "" {
		t.Errorf("status %d, %s (%v)", status, stdout, err)
	}
}

// Each of two machines waits for the other one, or with one at once finds that the other one is not there.
func TestBootRunsSeveralMachinesAtOnce(t *testing.T) {
	dir := installGuest(t, map[string]string{"qemu-system-x86_64": `
cd "$RUNNING"
mkdir "$$"
until [ "$(ls | wc -l)" = "$EXPECTED" ]; do sleep 0.1; done
echo 'login: '
read never
`})
	t.Setenv("RUNNING", filepath.Join(dir, "running"))
	a, b := diskimagetest.MarkerDisk(t, "a.img"), diskimagetest.MarkerDisk(t, "b.img")
	must(t, os.Mkdir(filepath.Join(dir, "running"), 0o755))
	t.Setenv("EXPECTED", "2")
	if status, stdout, stderr := bootVerb(t, a, b, "--test", "--accel=tcg", "--jobs=2", "--timeout=1m"); status != exitOK {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "running")))
	must(t, os.Mkdir(filepath.Join(dir, "running"), 0o755))
	t.Setenv("EXPECTED", "1")
	_, stdout, stderr := bootVerb(t, a, b, "--test", "--accel=tcg", "--jobs=1", "--timeout=5s")
	if !strings.Contains(stdout, "a.img  bios      ok") || !strings.Contains(stderr, "1 of 2 boot tests failed") {
		t.Errorf("got %q, %q: want the second machine after the first one", stdout, stderr)
	}
}

// Issue 18, 8: what a call leaves that is interrupted.
func TestInterruptedBootLeavesNothing(t *testing.T) {
	dir := installGuest(t, map[string]string{"qemu-system-x86_64": "sleep 1000 &\necho $$ $! >\"$PIDS\"\nwait\n"})
	temp, pids, junit := t.TempDir(), filepath.Join(dir, "pids"), filepath.Join(dir, "boot.xml")
	must(t, unix.Mkfifo(pids, 0o600))
	t.Setenv("PIDS", pids)
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan string)
	go func() {
		text, err := os.ReadFile(pids) // when the machine has opened and closed it
		if err != nil {
			t.Error(err)
		}
		running <- string(text)
		cancel()
	}()
	image := diskimagetest.MarkerDisk(t, "disk.img")
	var stdout, stderr bytes.Buffer
	ended := make(chan int)
	go func() {
		env := environment{dir: dir, etc: t.TempDir(), now: time.Now, arch: "amd64", stat: os.Stat}
		ended <- run(ctx, []string{"boot", image, image, "--test", "--jobs=1", "--accel=tcg", "--junit", junit}, &stdout,
			&stderr, env)
	}()
	machine := strings.Fields(<-running)
	if status := <-ended; status == exitOK || stdout.Len() > 0 || len(machine) != 2 {
		t.Errorf("status %d, %q, %q; the machine was %q", status, stdout.String(), stderr.String(), machine)
	}
	for _, text := range machine {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		// The child is reaped by the init process of this machine.
		for deadline := time.Now().Add(10 * time.Second); !errors.Is(unix.Kill(pid, 0), unix.ESRCH); {
			if state := readFile(t, "/proc/"+text+"/stat"); strings.Contains(state, ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %d of the machine is still there", pid)
			}
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v (%v)", left, err)
	}
	if _, err := os.Stat(junit); err == nil {
		t.Error("there is a file of results")
	}
}

// Whatever a console shows, the file is XML.
func TestJUnitIsValid(t *testing.T) {
	t.Parallel()
	everything := "]]> <&\"' \xff\xfe\x7f \ufffe \U0001f600 "
	for b := range 32 {
		everything += string(rune(b))
	}
	name := filepath.Join(t.TempDir(), "boot.xml")
	results := []bootResult{
		{name: "a.img", Firmware: "bios", Error: everything, Console: everything, started: true, Seconds: 1e9},
		{name: "a.img", Firmware: "uefi", Error: "1 of 2 checks failed", started: true, Booted: true, Seconds: 1e-9,
			Checks: []checkResult{{Name: everything, Error: everything, Output: everything}, {Name: "x", OK: true}}},
		{name: "b.img", Firmware: "bios", Error: everything},
	}
	if err := writeJUnit(t.Context(), name, results); err != nil {
		t.Fatal(err)
	}
	validJUnit(t, name)
	if text := readFile(t, name); !strings.Contains(text, `tests="5" failures="2" errors="1"`) {
		t.Error(text)
	}
}
