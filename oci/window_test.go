package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// useProc is a program that does with /proc what Debian's programs do. It prints what is wrong.
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

	// As systemd-tmpfiles changes files.
	if err := os.WriteFile("/file", []byte("text"), 0o600); err != nil {
		return err
	}
	fd, err := unix.Open("/file", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	name := procPath(fd)
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
		err = unix.Linkat(unix.AT_FDCWD, procPath(unnamed), unix.AT_FDCWD, "/named", unix.AT_SYMLINK_FOLLOW)
	}
	errs = append(errs, err)
	_, err = os.Lstat("/named")
	errs = append(errs, err)

	if err := os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0); !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
		errs = append(errs, fmt.Errorf("the host's name can be written: %w", err))
	}
	if _, err := os.Stat("/proc/nothing"); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("/proc/nothing: %w", err))
	}
	return errors.Join(errs...)
}

// Where nothing can be mounted, names in /proc work by the container's parent.
func TestProcWorksInContainers(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	if got := output(t, c, process("useproc")); got != "" {
		t.Error(got)
	}
	if _, err := c.Lstat("/named"); err != nil {
		t.Error(err)
	}
}

func TestWindowShowsProcAlone(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"/proc": "/proc", "/proc/": "/proc", "/proc/self/exe": "/proc/7/exe", "/proc/thread-self/comm": "/proc/7/task/7/comm", "//proc/1": "",
		"/dev/fd/3": "/proc/7/fd/3", "/dev/stdin": "/proc/7/fd/0", "/dev/null": "", "/process": "", "/proc/../etc/passwd": "", "proc/self": "",
		"/proc/selfish": "/proc/selfish",
	} {
		if got, inside := windowName(name, 7); got != want || inside != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, inside, want)
		}
	}
	for name, want := range map[string]bool{"/proc/7/oom_score_adj": true, "/proc/sys/kernel/hostname": false, "/proc": false, "/proc/sysrq-trigger": false} {
		if got := ofProcess(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
