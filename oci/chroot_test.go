// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// TestHostContainersWorkInDocker runs the tests of this package again where neither namespaces nor
// mounts are possible.
func TestHostContainersWorkInDocker(t *testing.T) {
	runContained(t, ocitest.Docker, host.IsolationChroot, "^(Test[^H]|TestH[^o])")
}

// TestHostContainersWorkInKubernetes runs tests where root cannot mount, except in a user
// namespace. Parts of /proc are hidden there, and containers see the outer /proc; tests that need
// another one are left out.
func TestHostContainersWorkInKubernetes(t *testing.T) {
	runContained(t, ocitest.Unconfined, host.IsolationUserNS,
		"^Test(RunPasses|RunReports|RunSets|RunLeaves|RunKeeps|RunEnds|Snapshots|IsolationIsAsExpected)")
}

// Without a pid namespace, no process ends by itself.
func TestHostContainersWorkWithoutLeftovers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can use the isolation chroot")
	}
	t.Setenv(envOnly, string(host.IsolationChroot))
	dir := stateDir(t)
	for _, moment := range buildMoments {
		killAt(t, dir, moment, func(lines io.Reader) bool {
			for scanner := bufio.NewScanner(lines); scanner.Scan(); {
				if scanner.Text() == moment {
					return true
				}
			}
			return false
		})
	}
	cmd := command(t, "leftovers", dir)
	if out, err := cmd.Output(); err != nil || string(out) != "sessions 1\nlayers 1\n" {
		t.Errorf("the next build finds %q (%v), want its own session and the snapshot", out, err)
	}
}

// TestIsolationIsAsExpected checks the isolation that runContained expects. In other runs, any
// isolation will do.
func TestIsolationIsAsExpected(t *testing.T) {
	want, ok := os.LookupEnv(envWanted)
	if got := here.Isolation; ok && string(got) != want || got == "" || got == host.IsolationAuto {
		t.Errorf("the isolation is %q, want %q", got, want)
	}
}

// runContained runs tests in a container made by a command of ocitest. The isolation is probed
// there and must be want.
func runContained(t *testing.T, container func(string, ...string) *exec.Cmd, want host.Isolation, tests string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root has capabilities to drop")
	}
	dir, err := os.Getwd() // for the golden files
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := container(self, "-test.v", "-test.run="+tests)
	cmd.Env, cmd.Dir = append(os.Environ(), envOnly+"="+string(host.IsolationAuto), envWanted+"="+string(want)), dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skip("this process already is in such a container")
	}
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestIsolationIsAsExpected") {
		t.Fatalf("the tests in the container: %v", err)
	}
}

func TestChrootIsolatesPrograms(t *testing.T) {
	if here.Isolation != host.IsolationChroot {
		t.Skip("there are namespaces here")
	}
	t.Parallel()
	e := openEngine(t)
	tools, target := scratch(t, e), scratch(t, e)
	for _, name := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := target.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before := treeOf(t, target.Root())
	for name, got := range map[string]string{
		"alone": output(t, target, newProcess("look")), "in another": output(t, tools, newProcess("chroot", "/target"),
			target.MountAt("/target")...),
	} {
		for _, want := range []string{
			"cwd /\n", "ids 0:0", "umask 022\n", "/dev/null Dcrw-rw-rw-\n", "/dev/tty Dcrw-rw-rw-\n",
			"/dev/pts drwxr-xr-x\n", "/dev/shm dtrwxrwxrwx\n",
			"/dev/mem is missing\n", "/dev/fd dr-x------\n", "/proc/self dr-xr-xr-x\n", "/sys/kernel is missing\n",
			"/run/lock dtrwxrwxrwx\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in %s", name, want, got)
			}
		}
	}
	if after := treeOf(t, target.Root()); !slices.Equal(after, before) {
		t.Errorf("the tree has %q afterwards, want %q", after, before)
	}
}

func TestChrootReportsUnsupportedEmulation(t *testing.T) {
	if here.Isolation != host.IsolationChroot {
		t.Skip("there are namespaces here")
	}
	t.Parallel()
	e := openEngine(t)
	e.Emulate(alpha, "/bin/true")
	var host *host.Error
	if err := scratch(t, e).Run(t.Context(), newProcess("cat"), nil, nil, nil); !errors.As(err, &host) ||
		!strings.Contains(host.Fix, "qemu-user-static") {
		t.Errorf("got %v", err)
	}
}

// treeOf lists the contents of a directory.
func treeOf(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		names = append(names, d.Type().String()+strings.TrimPrefix(name, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// bindAll adds mounts without devices to a directory, as any user can, calls change, and undoes the
// mounts.
func bindAll(t *testing.T, root string, mounts []specs.Mount, movable []string, change func()) {
	t.Helper()
	p := &run.Binds{Root: root, Covered: filepath.Join(t.TempDir(), "covered"),
		Movable: func(dir string) bool { return slices.Contains(movable, dir) }, Keep: filepath.Join(root, "nothing")}
	for _, m := range mounts {
		if err := p.Add(m); err != nil {
			t.Error(err)
		}
	}
	change()
	if err := p.Undo(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestBindsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	root, host := t.TempDir(), t.TempDir()
	write(t, root+"/etc/file", "the tree's")
	write(t, root+"/run/dpkg/state", "the tree's")
	write(t, host+"/file", "the host's")
	write(t, host+"/moved/deb", "the host's")
	write(t, host+"/template/lock/x", "template")
	before, hostBefore := treeOf(t, root), treeOf(t, host)
	bind := func(src, dst string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: host + src, Destination: dst,
			Options: append([]string{"rbind"}, options...)}
	}
	mounts := []specs.Mount{
		bind("/file", "/etc/file", "ro"), bind("/file", "/home/alice/deep/file"),
		bind("/moved", "/var/cache/apt/archives"),
		bind("/template", "/run", "ro"),
		{Type: "tmpfs", Destination: "/run", Options: []string{"mode=755", mounts.CopyUpOption}},
		run.ProcMount("/proc"), run.SysMount("/sys"),
	}
	bindAll(t, root, mounts, []string{host + "/moved"}, func() {
		for name, want := range map[string]string{
			"/etc/file": "the host's", "/home/alice/deep/file": "the host's",
			"/var/cache/apt/archives/deb": "the host's", "/run/lock/x": "template",
		} {
			if got, err := os.ReadFile(root + name); err != nil || string(got) != want {
				t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
			}
		}
		write(t, root+"/etc/file", "changed")
		write(t, root+"/run/lock/x", "changed")
		write(t, root+"/var/cache/apt/archives/new", "a download")
		for _, dir := range []string{"/proc", "/sys"} {
			if entries, err := os.ReadDir(root + dir); err != nil || len(entries) > 0 {
				t.Errorf("%s holds %v (%v)", dir, entries, err)
			}
		}
	})
	if after := treeOf(t, root); !slices.Equal(after, before) {
		t.Errorf("the tree is %q afterwards, want %q", after, before)
	}
	hostBefore = append(hostBefore, "----------/moved/new")
	hostAfter := treeOf(t, host)
	slices.Sort(hostBefore)
	slices.Sort(hostAfter)
	if !slices.Equal(hostAfter, hostBefore) {
		t.Errorf("the host has %q afterwards, want %q", hostAfter, hostBefore)
	}
	for _, name := range []string{host + "/file", host + "/template/lock/x"} {
		if text, err := os.ReadFile(name); err != nil || string(text) == "changed" {
			t.Errorf("%s is changed (%v)", name, err)
		}
	}
}

func TestSharedDirectoryReceivesChanges(t *testing.T) {
	t.Parallel()
	root, host := t.TempDir(), t.TempDir()
	for _, name := range []string{"same", "changed", "removed", "dir/removed", "gone/a/b", "becomes-dir",
		"becomes-file/x"} {
		write(t, filepath.Join(host, name), name)
	}
	if err := os.Symlink("same", host+"/link"); err != nil {
		t.Fatal(err)
	}
	large := host + "/large.img"
	if err := errors.Join(os.WriteFile(large, []byte("image"), 0o644), os.Truncate(large, dirfd.LinkFrom)); err != nil {
		t.Fatal(err)
	}
	sameBefore, err := os.Stat(host + "/same")
	if err != nil {
		t.Fatal(err)
	}
	mount := specs.Mount{Type: "bind", Source: host, Destination: host, Options: []string{"rbind"}}
	bindAll(t, root, []specs.Mount{mount}, nil, func() {
		at := func(name string) string { return filepath.Join(root, host, name) }
		write(t, at("changed"), "something else")
		write(t, at("new/file"), "new")
		write(t, at("large.img"), "rewritten")
		err := errors.Join(
			os.Remove(at("removed")), os.Remove(at("dir/removed")), os.RemoveAll(at("gone")), os.Remove(at("link")),
			os.Symlink("changed", at("link")),
			os.Remove(at("becomes-dir")), os.RemoveAll(at("becomes-file")), os.Chmod(at("dir"), 0o700),
		)
		if err != nil {
			t.Fatal(err)
		}
		write(t, at("becomes-dir/x"), "x")
		write(t, at("becomes-file"), "x")
	})
	want := []string{
		"", "/becomes-dir", "/becomes-dir/x", "/becomes-file", "/changed", "/dir", "/large.img", "/link", "/new",
		"/new/file", "/same",
	}
	var got []string
	for _, line := range treeOf(t, host) {
		got = append(got, strings.TrimLeft(line, "dL-"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
	for name, want := range map[string]string{"changed": "something else", "new/file": "new", "large.img": "rewritten",
		"link": "something else", "same": "same"} {
		if text, err := os.ReadFile(filepath.Join(host, name)); err != nil || string(text) != want {
			t.Errorf("%s holds %.20q (%v), want %q", name, text, err, want)
		}
	}
	if info, err := os.Stat(host + "/same"); err != nil || !os.SameFile(info, sameBefore) {
		t.Errorf("an unchanged file was replaced (%v)", err)
	}
	if info, err := os.Stat(host + "/dir"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of a directory was not copied out (%v)", err)
	}
}

// A symbolic link in the tree must not redirect a mount to the host.
func TestBindsStayInTheRoot(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, root+"/mnt"); err != nil {
		t.Fatal(err)
	}
	bindAll(t, root, []specs.Mount{{Type: "tmpfs", Destination: "/mnt/new"}, {Type: "tmpfs", Destination: "/mnt"}},
		nil, func() {})
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("the host's directory holds %v (%v)", entries, err)
	}
}
