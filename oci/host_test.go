// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// The tests of this file run on the host, see TestMain, one at a time: they search for processes of
// this program.

// command returns a command for one of programs, which is not a child of Reexec.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := oomScore(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"program"}, args...)
	cmd.Env = os.Environ()
	cmd.Stderr = os.Stderr
	return cmd
}

// oomScore marks the processes that this test starts: children and new programs inherit it, and it
// can be read even of processes that hide everything else.
var oomScore = sync.OnceValues(func() (string, error) {
	score := strconv.Itoa(1 + os.Getpid()%998)
	return score, os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0)
})

// processes lists the processes that this test has started, except the test itself.
func processes(t *testing.T) []string {
	t.Helper()
	score, err := oomScore()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range dirs {
		if filepath.Base(dir) == strconv.Itoa(os.Getpid()) {
			continue
		}
		// A process that has ended cannot be read.
		marked, _ := os.ReadFile(dir + "/oom_score_adj")
		args, _ := os.ReadFile(dir + "/cmdline")
		name, _, _ := bytes.Cut(args, []byte{0})
		ours := filepath.Base(string(name)) == "program" || bytes.HasPrefix(name, []byte("vmdebootstrap-"))
		if ours && strings.TrimSpace(string(marked)) == score {
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// waitForNone waits until all processes are gone: a killed one does not end at once.
func waitForNone(t *testing.T) {
	t.Helper()
	const timeout = 20 * time.Second
	var left []string
	for start := time.Now(); time.Since(start) < timeout; time.Sleep(time.Millisecond) {
		if left = processes(t); len(left) == 0 {
			return
		}
	}
	t.Errorf("still running: %q", left)
}

func hostMounts(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(mounts)
}

// stateDir returns a directory for a store. Files in it belong to subordinate IDs, so a program
// inside removes it.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oci-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd := command(t, "remove", dir)
		if out, err := cmd.Output(); err != nil {
			t.Errorf("remove %s: %v: %s", dir, err, out)
		}
	})
	return dir
}

// buildMoments are the lines that the program build prints; its program in the container prints the
// last one.
var buildMoments = []string{"begin", "inside", "open", "container", "snapshot", "ready"}

func TestHostIsCleanAfterKill(t *testing.T) {
	dir := stateDir(t)
	before := hostMounts(t)
	for _, moment := range buildMoments {
		killAt(t, dir, moment, func(lines io.Reader) bool {
			for scanner := bufio.NewScanner(lines); scanner.Scan(); {
				if scanner.Text() == moment {
					return true
				}
			}
			return false
		})
		if after := hostMounts(t); after != before {
			t.Errorf("%s: the mounts of the host have changed: %s", moment, after)
		}
	}
	// The start passes through several processes that print nothing. Only here, the exact time of
	// the kill does not matter.
	for delay := time.Duration(0); delay < 60*time.Millisecond; delay += 3 * time.Millisecond {
		killAt(t, dir, delay.String(), func(io.Reader) bool {
			time.Sleep(delay)
			return true
		})
	}
	if after := hostMounts(t); after != before {
		t.Errorf("the mounts of the host have changed: %s", after)
	}
	cmd := command(t, "leftovers", dir)
	if out, err := cmd.Output(); err != nil || string(out) != "sessions 1\nlayers 1\n" {
		t.Errorf("the next build finds %q (%v), want its own session and the snapshot", out, err)
	}
}

// killAt starts a build, kills the started process when until returns true, and checks that all
// other processes end, too.
func killAt(t *testing.T, dir, moment string, until func(io.Reader) bool) {
	t.Helper()
	cmd := command(t, "build", dir)
	lines, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !until(lines) {
		t.Errorf("the build ended before %q", moment)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	waitForNone(t)
}

func TestHostIsCleanAfterInterrupt(t *testing.T) {
	dir := stateDir(t)
	before := hostMounts(t)
	cmd := command(t, "build", dir)
	lines, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(lines); scanner.Scan() && scanner.Text() != "ready"; {
	}
	if during := hostMounts(t); during != before {
		t.Errorf("the mounts of the host have changed: %s", during)
	}
	// The build does not handle signals: it ends at once.
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the build succeeded")
	}
	waitForNone(t)
}

func TestHostSignalsAreForwardedOnce(t *testing.T) {
	cmd := command(t, "interrupted")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// As from a terminal: the signals go to the process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	var got []string
	for _, s := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if !lines.Scan() {
			break
		}
		got = append(got, lines.Text())
		if err := unix.Kill(-cmd.Process.Pid, s); err != nil {
			t.Fatal(err)
		}
	}
	for lines.Scan() {
		got = append(got, lines.Text())
	}
	if want := "ready SIGINT SIGTERM SIGHUP"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var exitErr *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exitErr) || exitErr.ExitCode() != 42 {
		t.Errorf("got %v, want the exit status 42 of the program inside", err)
	}
}

func TestHostSecondInterruptKills(t *testing.T) {
	cmd := command(t, "interrupted")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	var exitErr *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exitErr) || exitErr.ExitCode() != 130 {
		t.Errorf("got %v, want exit status 130", err)
	}
	waitForNone(t)
}

// Files created for the user inside follow the umask of the caller (issue 12, A6).
func TestHostUmaskIsKeptInside(t *testing.T) {
	cmd := command(t, "umask", "umask")
	old := unix.Umask(0o027)
	out, err := cmd.Output()
	unix.Umask(old)
	if err != nil || string(out) != "027\n" {
		t.Errorf("got %q (%v), want 027", out, err)
	}
}

// A program that a build starts, such as a hook, inherits the variables of the build.
func TestHostIgnoresAnInheritedVariable(t *testing.T) {
	cmd := command(t, "inside")
	cmd.Env = append(cmd.Env, host.EnvInside+"=mnt:[1]")
	if out, err := cmd.Output(); err != nil || string(out) != "false\n" {
		t.Errorf("got %q (%v), want false", out, err)
	}
}

func TestHostWithoutNewuidmapUsesASingleID(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root does not need newuidmap")
	}
	cmd := command(t, "why")
	cmd.Env = append(cmd.Env, "PATH="+t.TempDir())
	want := "single newuidmap and newgidmap are not installed "
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
}

func TestHostReportsMissingCapabilities(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs a root that may drop capabilities")
	}
	cmd := command(t, "weakhost")
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "this root may not mount (CAP_SYS_ADMIN is missing") {
		t.Errorf("got %q (%v)", out, err)
	}
}

// As in an LXD container that intercepts system calls.
func TestHostContainersWorkOnlyWithoutAnotherListener(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("an ordinary user needs no_new_privs for a filter, and cannot use newuidmap then")
	}
	t.Setenv(envOnly, string(IsolationUserNS))
	cmd := command(t, "listened", stateDir(t))
	want := strings.Repeat(
		"the outer container answers system calls of its programs, and there can be but one who does (seccomp)\n", 2)
	if out, err := cmd.Output(); err != nil || string(out) != want {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
}
