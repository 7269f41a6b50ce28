// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// resolver is the content of the host's /etc/resolv.conf in the tests.
const resolver = "nameserver 192.0.2.1\n"

func openEngineAt(t *testing.T, dir, driver string) *Engine {
	t.Helper()
	if driver == host.DriverOverlay {
		needsNamespaces(t)
	}
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: dir, Driver: driver, Resolver: []byte(resolver)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func openEngine(t *testing.T) *Engine {
	t.Helper()
	return openEngineAt(t, t.TempDir(), "")
}

// needsNamespaces skips a test that needs namespaces where there are none.
func needsNamespaces(t *testing.T) {
	t.Helper()
	if here.Isolation == host.IsolationChroot {
		t.Skip("there are no namespaces here")
	}
}

// newProcess runs one of programs.
func newProcess(args ...string) *specs.Process {
	return &specs.Process{Args: append([]string{"/bin/program"}, args...), Cwd: "/", Env: []string{"PATH=/bin"}}
}

// output runs a program that must succeed and returns its output.
func output(t *testing.T, c *Container, p *specs.Process, mounts ...specs.Mount) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Run(t.Context(), p, mounts, nil, &out); err != nil {
		t.Fatalf("%v: %v: %s", p.Args, err, out.String())
	}
	return out.String()
}

func TestSpecMatchesTheGoldenFile(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(run.Spec("/root", newProcess("cat"), run.MountsForRun("/template", "/run")), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/spec.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %s", got)
	}
}

func TestRunPassesInputAndOutput(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	var out bytes.Buffer
	if err := c.Run(t.Context(), newProcess("cat"), nil, strings.NewReader("hello"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "hello" {
		t.Errorf("got %q", out.String())
	}
}

func TestRunReportsHowTheProgramEnded(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	for _, tt := range []struct {
		args   []string
		status int
		text   string
	}{
		{[]string{"exit", "7"}, 7, "/bin/program: exit status 7"},
		{[]string{"kill", "SIGKILL"}, 137, "/bin/program: ended by the signal SIGKILL"},
	} {
		err := c.Run(t.Context(), newProcess(tt.args...), nil, nil, nil)
		var exitErr *run.ExitError
		if !errors.As(err, &exitErr) || exitErr.ExitStatus() != tt.status || exitErr.Error() != tt.text {
			t.Errorf("%v: got %v, want status %d, %q", tt.args, err, tt.status, tt.text)
		}
	}
}

func TestRunRejectsUnsupportedProcesses(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	for _, tt := range []struct {
		name   string
		change func(*specs.Process)
		want   string
	}{
		{"no arguments", func(p *specs.Process) { p.Args = nil }, "no program given"},
		{"terminal", func(p *specs.Process) { p.Terminal = true }, "Terminal of the process is not supported"},
		{"capabilities", func(p *specs.Process) { p.Capabilities = &specs.LinuxCapabilities{} },
			"Capabilities of the process is not supported"},
		{"no such program", func(p *specs.Process) { p.Args = []string{"apt-get", "update"} },
			`the container has no program "apt-get"`},
		{"no such path", func(p *specs.Process) { p.Args = []string{"/usr/bin/apt"} },
			`the container has no program "/usr/bin/apt"`},
		{"no such directory", func(p *specs.Process) { p.Cwd = "/nowhere" },
			`change to the working directory "/nowhere": no such file or directory`},
	} {
		p := newProcess("cat")
		tt.change(p)
		if err := c.Run(t.Context(), p, nil, nil, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	p := newProcess()
	p.Args = []string{"apt-get"}
	if err := c.Run(t.Context(), p, nil, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing program is not fs.ErrNotExist: %v", err)
	}
	for text, want := range map[string]string{
		"#!/usr/bin/python3 -u\n": `/bin/script needs "/usr/bin/python3", which does not exist here`,
		"#!/bin/sh\r\n":           `/bin/script needs "/bin/sh\r", which does not exist here`,
		"echo hello\n":            "/bin/script is neither a program for this machine nor a script with #! in its first line",
	} {
		if err := c.WriteFile("/bin/script", []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		p.Args = []string{"script"}
		if err := c.Run(t.Context(), p, nil, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestRunNamesFileSystemsWithoutExec(t *testing.T) {
	needsNamespaces(t) // for a mount with an option
	t.Parallel()
	c := scratch(t, openEngine(t))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newProcess()
	p.Args = []string{"/noexec/script"}
	noexec := specs.Mount{Type: "bind", Source: dir, Destination: "/noexec", Options: []string{"rbind", "noexec"}}
	if err := c.Run(t.Context(), p, []specs.Mount{noexec}, nil, nil); err == nil ||
		!strings.Contains(err.Error(), "mounted with the option noexec") {
		t.Errorf("got %v", err)
	}
}

func TestRunIsolatesPrograms(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	c := scratch(t, openEngine(t))
	p := newProcess("look")
	p.Env = []string{"A=1", "B=2"}
	p.Cwd = "/bin"
	p.User = specs.User{AdditionalGids: []uint32{4, 24}}
	want := `hostname debian
cwd /bin
ids 0:0 [4 24]
umask 022
parent 1
session of pid 1 true
env A=1 B=2
/dev/null Dcrw-rw-rw-
/dev/tty Dcrw-rw-rw-
/dev/ptmx Dcrw-rw-rw-
/dev/fd dr-x------
/dev/pts drwxr-xr-x
/dev/shm dtrwxrwxrwx
/dev/mem is missing
/dev/kmsg is missing
/proc/self dr-xr-xr-x
/sys/kernel drwxr-xr-x
/run/lock dtrwxrwxrwx
2 processes
`
	if got := output(t, c, p); got != want {
		t.Errorf("got %s", got)
	}
}

// TestDevicesOfTheHostCannotBeChanged: for a real root, the /dev/null of a container was the host's, and chmod(1)
// changed its mode for all programs of the machine.
func TestDevicesOfTheHostCannotBeChanged(t *testing.T) {
	needsNamespaces(t)
	devices := []string{"/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"}
	state := func() string {
		var b strings.Builder
		for _, name := range devices {
			var st unix.Stat_t
			if err := unix.Stat(name, &st); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %o %d:%d %d\n", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		}
		return b.String()
	}
	before := state()
	c := scratch(t, openEngine(t))
	got := output(t, c, newProcess(append([]string{"change-devices", "/proc/kcore", "/proc/keys"}, devices...)...))
	if got != "" {
		t.Errorf("a program of the container has changed %s", got)
	}
	if after := state(); after != before {
		t.Errorf("the host's devices are\n%swere\n%s", after, before)
	}
}

func TestRunSetsUserAndUmask(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	p := newProcess("look")
	umask := uint32(0o077)
	p.User = specs.User{UID: 33, GID: 65534, Umask: &umask}
	if got := output(t, c, p); !strings.Contains(got, "ids 33:65534 []\numask 077\n") {
		t.Errorf("got %s", got)
	}
}

// TestRunMountsADirectoryTwice: a program of the toolbox and one of the target below it need the same files. Where
// nothing can be mounted, a directory of the session is moved to the first place.
func TestRunMountsADirectoryTwice(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	c := scratch(t, e)
	dir := filepath.Join(e.TempDir(), "twice")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("shared\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mounts []specs.Mount
	for _, at := range []string{"/one", "/two"} {
		mounts = append(mounts, specs.Mount{Type: "bind", Source: dir, Destination: at, Options: []string{"rbind", "ro"}})
	}
	want := "/one/file: shared\n/two/file: shared\n"
	if got := output(t, c, newProcess("list", "/one/file", "/two/file"), mounts...); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "shared\n" {
		t.Errorf("afterwards the file is %q (%v)", text, err)
	}
}

func TestRunAllowsMountingProc(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	c := scratch(t, openEngine(t))
	output(t, c, newProcess("mountproc"))
}

func TestRunLeavesNoTrace(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	if err := c.MkdirAll("/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mount := specs.Mount{Type: "bind", Source: file, Destination: "/home/alice/file", Options: []string{"rbind", "ro"}}
	got := output(t, c, newProcess("list", "/home/alice/file", "/etc/resolv.conf",
		"/run/systemd/resolve/stub-resolv.conf"), mount)
	want := "/home/alice/file: of the host\n/etc/resolv.conf: " + resolver + "/run/systemd/resolve/stub-resolv.conf: " +
		resolver
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := c.Run(t.Context(), newProcess("write", "/home/alice/file", "x"), []specs.Mount{mount}, nil, nil); err == nil && here.Isolation != host.IsolationChroot {
		t.Error("a read-only mount can be written")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "of the host\n" {
		t.Errorf("the host's file is %q (%v)", text, err)
	}
	var names []string
	err := filepath.WalkDir(c.Root(), func(name string, _ fs.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(name, c.Root()))
		return err
	})
	if want := []string{"", "/bin", "/bin/program", "/etc"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("the root file system holds %q (%v), want %q", names, err, want)
	}
}

func TestRunKeepsUsedMountPoints(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	mount := specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/srv/mnt"}
	output(t, c, newProcess("write", "/srv/file", "x"), mount)
	if data, err := c.ReadFile("/srv/file"); err != nil || string(data) != "x" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := c.Lstat("/srv/mnt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mount point still exists: %v", err)
	}
}

func TestResolvConfBelongsToPackages(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	for _, tt := range []struct {
		name, link, file string // /etc/resolv.conf before the run
		run              []string
		output           string
		linkAfter        string
		fileAfter        string
	}{
		{name: "link to systemd-resolved", link: "../run/systemd/resolve/stub-resolv.conf",
			run:    []string{"list", "/etc/resolv.conf"},
			output: "/etc/resolv.conf: " + resolver, linkAfter: "../run/systemd/resolve/stub-resolv.conf"},
		{name: "link to another daemon", link: "/run/NetworkManager/resolv.conf",
			run:    []string{"list", "/etc/resolv.conf"},
			output: "/etc/resolv.conf: " + resolver, linkAfter: "/run/NetworkManager/resolv.conf"},
		{name: "dangling link", link: "/nowhere", run: []string{"list", "/etc/resolv.conf"},
			output: "/etc/resolv.conf is missing\n", linkAfter: "/nowhere"},
		{name: "file of the user", file: "nameserver 203.0.113.9\n", run: []string{"list", "/etc/resolv.conf"},
			output: "/etc/resolv.conf: nameserver 203.0.113.9\n", fileAfter: "nameserver 203.0.113.9\n"},
		{name: "replaced by a link during the run", run: []string{"link", "/run/x", "/etc/resolv.conf"},
			linkAfter: "/run/x"},
		{name: "changed during the run", run: []string{"write", "/etc/resolv.conf", "nameserver 203.0.113.9\n"},
			fileAfter: "nameserver 203.0.113.9\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := scratch(t, e)
			err := c.MkdirAll("/etc", 0o755)
			if tt.link != "" {
				err = errors.Join(err, c.Symlink(tt.link, "/etc/resolv.conf"))
			}
			if tt.file != "" {
				err = errors.Join(err, c.WriteFile("/etc/resolv.conf", []byte(tt.file), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := output(t, c, newProcess(tt.run...)); got != tt.output {
				t.Errorf("the program printed %q, want %q", got, tt.output)
			}
			if link, _ := c.Readlink("/etc/resolv.conf"); link != tt.linkAfter {
				t.Errorf("it is a link to %q afterwards, want %q", link, tt.linkAfter)
			}
			if tt.linkAfter == "" {
				if data, err := c.ReadFile("/etc/resolv.conf"); err != nil || string(data) != tt.fileAfter {
					t.Errorf("it is %q afterwards (%v), want %q", data, err, tt.fileAfter)
				}
			}
		})
	}
}

func TestMountAtMakesAChrootUsable(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	tools, target := scratch(t, e), scratch(t, e)
	for _, name := range []string{"/proc", "/sys", "/run"} {
		if err := target.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := output(t, tools, newProcess("chroot", "/target"), target.MountAt("/target")...)
	for _, want := range []string{"cwd /\n", "/dev/null Dcrw-rw-rw-\n", "/dev/fd dr-x------\n",
		"/dev/ptmx Dcrw-rw-rw-\n", "/run/lock dtrwxrwxrwx\n", "2 processes\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if _, err := tools.Lstat("/target"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mount point still exists: %v", err)
	}
}

// debootstrap unpacks into these directories, and tar cannot set the times of a mounted proc or
// sysfs.
func TestMountAtOfAnEmptyContainerOmitsProc(t *testing.T) {
	t.Parallel()
	c, err := openEngine(t).Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.MountAt("/target") {
		if m.Destination != "/target" && !strings.HasPrefix(m.Destination, "/target/dev") {
			t.Errorf("%s is mounted", m.Destination)
		}
	}
}

func TestRunEndsWithTheProgramAndNotWithItsDaemons(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	output(t, c, newProcess("daemon"))
	left, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if root, err := os.Readlink(name); err == nil && root == c.Root() {
			t.Errorf("%s is still running", name)
		}
	}
}

// readyWriter signals that the first line was written.
type readyWriter struct {
	text  []byte
	ready chan struct{}
}

func (w *readyWriter) Write(p []byte) (int, error) {
	if w.text == nil {
		close(w.ready)
	}
	w.text = append(w.text, p...)
	return len(p), nil
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &readyWriter{ready: make(chan struct{})}
	go func() {
		<-out.ready
		cancel()
	}()
	if err := c.Run(ctx, newProcess("wait"), nil, nil, out); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := string(out.text); got != "ready\nterminated\n" {
		t.Errorf("the program printed %q: it did not get SIGTERM first", got)
	}
}

func TestRunRejectsForeignMounts(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	err := c.Run(t.Context(), newProcess("cat"),
		[]specs.Mount{{Type: "bind", Source: "/nowhere", Destination: "/mnt", Options: []string{"rbind"}}}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "mount /nowhere on /mnt: ") ||
		!strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
}

// A symbolic link in the tree must not redirect a mount point to the host.
func TestMountsStayInTheRoot(t *testing.T) {
	t.Parallel()
	e, outside := openEngine(t), t.TempDir()
	for _, link := range []string{outside, strings.Repeat("../", 20) + outside[1:]} {
		c := scratch(t, e)
		if err := c.Symlink(link, "/mnt"); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "file")
		writeTestFile(t, file, nil)
		for _, m := range []specs.Mount{
			{Type: "tmpfs", Source: "tmpfs", Destination: "/mnt/new"},
			{Type: "bind", Source: file, Destination: "/mnt/file", Options: []string{"bind"}},
		} {
			err := c.Run(t.Context(), newProcess("exit", "0"), []specs.Mount{m}, nil, nil)
			if err != nil {
				t.Errorf("link %s: %v", link, err)
			}
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("the host's directory holds %v (%v)", entries, err)
	}
}
