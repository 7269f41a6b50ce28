// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// useProc is a program that uses /proc like Debian's programs. It prints what is wrong.
func useProc() error {
	var errs []error
	expect := func(what, got, want string, err error) {
		if err != nil || got != want {
			errs = append(errs, fmt.Errorf("%s is %q (%w), want %q", what, got, err, want))
		}
	}
	pid := strconv.Itoa(os.Getpid())
	link, err := os.Readlink("/proc/self")
	expect("/proc/self", link, pid, err)
	link, err = os.Readlink("/proc/self/exe")
	expect("/proc/self/exe", link, "/bin/program", err)
	link, err = os.Readlink("/proc/self/root")
	expect("/proc/self/root", link, "/", err)
	status, err := os.ReadFile("/proc/../proc/self/status")
	if err != nil || !strings.Contains(string(status), "\nPid:\t"+pid+"\n") {
		errs = append(errs, fmt.Errorf("/proc/self/status: %w", err))
	}
	dir, err := os.Open("/proc/self/fd")
	if err == nil {
		_, err = dir.Readdirnames(-1)
	}
	errs = append(errs, err)

	// systemd-tmpfiles changes files like this.
	if err := os.WriteFile("/file", []byte("text"), 0o600); err != nil {
		return err
	}
	fd, err := unix.Open("/file", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	name := dirfd.ProcPath(fd)
	errs = append(errs, os.Chmod(name, 0o640), unix.Setxattr(name, "user.test", []byte("value"), 0))
	value := make([]byte, 10)
	n, err := unix.Getxattr(name, "user.test", value)
	expect("the attribute", string(value[:max(n, 0)]), "value", err)
	text, err := os.ReadFile("/dev/fd/" + strconv.Itoa(fd))
	expect("/dev/fd/N", string(text), "text", err)
	info, err := os.Stat(name)
	if err == nil {
		expect("the mode", info.Mode().String(), "-rw-r-----", nil)
	}
	errs = append(errs, err)
	unnamed, err := unix.Open("/", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err == nil {
		err = unix.Linkat(unix.AT_FDCWD, dirfd.ProcPath(unnamed), unix.AT_FDCWD, "/named", unix.AT_SYMLINK_FOLLOW)
	}
	errs = append(errs, err)
	_, err = os.Lstat("/named")
	errs = append(errs, err)

	if err := os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0); !errors.Is(err, unix.EROFS) &&
		!errors.Is(err, unix.EACCES) {
		errs = append(errs, fmt.Errorf("the host's name can be written: %w", err))
	}
	if _, err := os.Stat("/proc/nothing"); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("/proc/nothing: %w", err))
	}
	return errors.Join(errs...)
}

// Where mounting is not possible, the container's parent resolves names in /proc.
func TestProcWorksInContainers(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	if got := output(t, c, newProcess("useproc")); got != "" {
		t.Error(got)
	}
	if _, err := c.Lstat("/named"); err != nil {
		t.Error(err)
	}
}

// useBehind is a program that reads, changes and describes files whose names may start with a link
// in /proc.
func useBehind(names []string) error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range names {
		for _, link := range []string{"/proc/self/root", "/proc/self/cwd", "/proc/thread-self/root",
			dirfd.ProcPath(int(root.Fd())), "/dev/../proc/self/cwd/../."} {
			name := link + name
			text, err := os.ReadFile(name)
			info, statErr := os.Stat(name)
			if errs := errors.Join(err, statErr); errs != nil {
				return fmt.Errorf("%s: %w", name, errs)
			}
			err = errors.Join(os.WriteFile(name, text, 0), os.Chmod(name, 0o604), os.Chown(name, 1, 1),
				unix.Setxattr(name, "user.test", nil, 0))
			if err != nil {
				return fmt.Errorf("change %s: %w", name, err)
			}
			fmt.Printf("%s %d\n", text, info.Size())
		}
	}
	return nil
}

// Links in /proc are resolved in the container (issue 12, A3): for its parent, an absolute link of
// the root file system would lead to the host.
func TestChrootLinksBehindProcStayInTheRoot(t *testing.T) {
	if here.Isolation != host.IsolationChroot {
		t.Skip("there are namespaces here")
	}
	t.Parallel()
	c := scratch(t, openEngine(t))
	host := t.TempDir()
	write(t, host+"/secret", "the host's secret")
	secret, err := os.Stat(host + "/secret")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		c.MkdirAll(host, 0o755), c.WriteFile(host+"/secret", []byte("inner"), 0o600), c.MkdirAll("/deep", 0o755),
		c.Symlink(host+"/secret", "/file"), c.Symlink(host, "/dir"), c.Symlink(strings.Repeat("../", 20)+host+"/secret",
			"/deep/up"),
	)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"/file", "/dir/secret", "/deep/up"}
	const links = 5
	if got, want := output(t, c, newProcess(append([]string{"behind"}, names...)...)),
		strings.Repeat("inner 5\n", links*len(names)); got != want {
		t.Errorf("the program sees\n%s", got)
	}
	after, err := os.Stat(host + "/secret")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(host + "/secret"); err != nil || string(text) != "the host's secret" ||
		after.Mode() != secret.Mode() {
		t.Errorf("the host's file has mode %v and holds %q (%v)", after.Mode(), text, err)
	}
	if st, was := after.Sys().(*syscall.Stat_t), secret.Sys().(*syscall.Stat_t); st.Uid != was.Uid ||
		st.Ctim != was.Ctim {
		t.Error("the host's file was changed")
	}
}

// A program only sees public information about the host's processes (issue 12, A3).
func TestChrootCannotAccessHostProcesses(t *testing.T) {
	if here.Isolation != host.IsolationChroot {
		t.Skip("there are namespaces here")
	}
	t.Parallel()
	c := scratch(t, openEngine(t))
	host := t.TempDir()
	write(t, host+"/secret", "the host's secret")
	f, err := os.Open(host)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	of := "/proc/" + strconv.Itoa(os.Getpid())
	for _, name := range []string{
		of + "/root" + host + "/secret", of + "/cwd/doc.go", fmt.Sprintf("%s/fd/%d/secret", of, f.Fd()),
		fmt.Sprintf("%s/fd/%d", of, f.Fd()),
		of + "/exe", of + "/root", of + "/environ", of + "/mem",
	} {
		var out strings.Builder
		err := c.Run(t.Context(), newProcess("cat", name), nil, nil, &out)
		if err == nil || !strings.Contains(out.String(), unix.EACCES.Error()) {
			t.Errorf("%s: the program got %.80q (%v)", name, out.String(), err)
		}
	}
	if got := output(t, c, newProcess("list", of+"/comm")); !strings.Contains(got, of+"/comm: ") {
		t.Errorf("got %q", got)
	}
}
