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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests of this file run on the host, see TestMain, one at a time: they look for processes of this program.

// command is a program of the tests, run as a program of its own: not a child that Reexec has made.
func command(t *testing.T, marker string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"program"}, args...)
	cmd.Env = append(os.Environ(), "OCI_TEST="+marker)
	cmd.Stderr = os.Stderr
	return cmd
}

// processes lists those that run this test binary, but for the test itself, and those that have the marker in their
// environment.
func processes(t *testing.T, marker string) []string {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
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
		// Those of other users, and those that are gone by now, cannot be read.
		exe, _ := os.Readlink(dir + "/exe")
		env, _ := os.ReadFile(dir + "/environ")
		if exe == self || bytes.Contains(env, []byte("OCI_TEST="+marker)) {
			args, _ := os.ReadFile(dir + "/cmdline")
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// waitForNone waits until all processes are gone: a killed one needs its moment.
func waitForNone(t *testing.T, marker string) {
	t.Helper()
	const patience = 20 * time.Second
	var left []string
	for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) {
		if left = processes(t, marker); len(left) == 0 {
			return
		}
	}
	t.Errorf("still there: %q", left)
}

func hostMounts(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(mounts)
}

// stateDir is a directory for a store. What is in it belongs to subordinate ids, so that its removal is work for a
// program inside.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oci-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd := command(t, "remove", "remove", dir)
		if out, err := cmd.Output(); err != nil {
			t.Errorf("remove %s: %v: %s", dir, err, out)
		}
	})
	return dir
}

// buildMoments are what the program build prints on its way, and at last its program in the container.
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
	// The start passes through several processes which print nothing. Here, and only here, it does not matter when
	// exactly the kill comes.
	for delay := time.Duration(0); delay < 60*time.Millisecond; delay += 3 * time.Millisecond {
		killAt(t, dir, delay.String(), func(io.Reader) bool {
			time.Sleep(delay)
			return true
		})
	}
	if after := hostMounts(t); after != before {
		t.Errorf("the mounts of the host have changed: %s", after)
	}
	cmd := command(t, "check", "leftovers", dir)
	if out, err := cmd.Output(); err != nil || string(out) != "sessions 1\nlayers 1\n" {
		t.Errorf("the next build finds %q (%v), want its own session and the snapshot", out, err)
	}
}

// killAt starts a build, kills the process that was started when until says so, and sees to it that all others go, too.
func killAt(t *testing.T, dir, moment string, until func(io.Reader) bool) {
	t.Helper()
	cmd := command(t, "kill-"+moment, "build", dir)
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
	waitForNone(t, "kill-"+moment)
}

func TestHostIsCleanAfterInterrupt(t *testing.T) {
	dir := stateDir(t)
	before := hostMounts(t)
	cmd := command(t, "interrupt", "build", dir)
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
	// The build knows nothing of signals: it ends at once.
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the build succeeded")
	}
	waitForNone(t, "interrupt")
}

func TestHostSignalsArePassedOnOnce(t *testing.T) {
	cmd := command(t, "signals", "interrupted")
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
	cmd := command(t, "second", "interrupted")
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
	waitForNone(t, "second")
}

// What is made for the user inside follows the umask of the caller (issue 12, A6).
func TestHostUmaskIsKeptInside(t *testing.T) {
	cmd := command(t, "umask", "umask")
	old := unix.Umask(0o027)
	out, err := cmd.Output()
	unix.Umask(old)
	if err != nil || string(out) != "027\n" {
		t.Errorf("got %q (%v), want 027", out, err)
	}
}

// A program that a build has started, a hook for example, has the variables of the build.
func TestHostDoesNotBelieveAnInheritedVariable(t *testing.T) {
	cmd := command(t, "variable", "inside")
	cmd.Env = append(cmd.Env, envInside+"=mnt:[1]")
	if out, err := cmd.Output(); err != nil || string(out) != "false\n" {
		t.Errorf("got %q (%v), want false", out, err)
	}
}

func TestHostWithoutNewuidmapGivesASingleID(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root needs no newuidmap")
	}
	cmd := command(t, "path", "why")
	cmd.Env = append(cmd.Env, "PATH="+t.TempDir())
	want := "single newuidmap and newgidmap are not installed "
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
}

func TestHostWithoutCapabilitiesSaysSo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs a root that may drop capabilities")
	}
	cmd := command(t, "caps", "weakhost")
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "this root may not mount (CAP_SYS_ADMIN is missing") {
		t.Errorf("got %q (%v)", out, err)
	}
}
