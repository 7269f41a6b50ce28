// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// rawCall makes a system call.
func rawCall(nr uintptr, args ...uintptr) error {
	args = append(args, make([]uintptr, 6)...)
	if _, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]); errno != 0 {
		return errno
	}
	return nil
}

// breakOut tries to leave the container and to change the host, and returns the attempts that
// worked.
func breakOut() (found []string) {
	var attributes [128]byte
	some := uintptr(unsafe.Pointer(&attributes))
	for _, try := range []struct {
		name string
		do   func() error
	}{
		{"setns by /proc/1", func() error { return setns("/proc/1/ns/mnt") }},
		{"setns to its own", func() error { return setns("/proc/self/ns/uts") }},
		{"unshare mounts", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"open_by_handle_at", openByHandle},
		// PTRACE_SEIZE does not stop it.
		{"ptrace pid 1", func() error {
			return rawCall(unix.SYS_PTRACE,
				unix.PTRACE_SEIZE, 1)
		}},
		{"read the memory of pid 1", func() error { return readable("/proc/1/mem") }},
		{"read the environment of pid 1", func() error { return readable("/proc/1/environ") }},
		{"pidfd_getfd", stealFiles},
		{"bpf", func() error { return rawCall(unix.SYS_BPF, 5, some, 128) }},
		{"io_uring_setup", func() error { return rawCall(unix.SYS_IO_URING_SETUP, 1, some) }},
		{"userfaultfd", func() error { return rawCall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }},
		{"perf_event_open", func() error {
			return rawCall(unix.SYS_PERF_EVENT_OPEN, some, 0, ^uintptr(0),
				^uintptr(0))
		}},
		{"add_key", func() error {
			_, err := unix.AddKey("user", "x", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}},
		{"kexec_load", func() error { return notFor(unix.EINVAL, rawCall(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)) }},
		{"init_module", func() error { return notFor(unix.ENOEXEC, rawCall(unix.SYS_INIT_MODULE, some, 128, some)) }},
		{"finit_module", func() error { return rawCall(unix.SYS_FINIT_MODULE, 0, some, 0) }},
		{"swapon", func() error { return notFor(unix.ENOENT, rawCall(unix.SYS_SWAPON, some)) }},
		{"sethostname", rewriteHostname},
		{"clock_settime", func() error { return notFor(unix.EINVAL, rawCall(unix.SYS_CLOCK_SETTIME, 0, some)) }},
		{"kcmp", func() error { return rawCall(unix.SYS_KCMP, 1, uintptr(os.Getpid())) }},
		{"fsopen", func() error {
			_, err := unix.Fsopen("proc", 0)
			return err
		}},
		{"open_tree", func() error {
			_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
			return err
		}},
		{"a system call of tomorrow", func() error { return rawCall(seccomp.NewestCall + 1) }},
		{"a socket of the kernel's audit", func() error {
			_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT)
			return err
		}},
		{"core_pattern", func() error { return rewrite("/proc/sys/kernel/core_pattern") }},
		{"sysrq", func() error { return writable("/proc/sysrq-trigger") }},
	} {
		if err := try.do(); err == nil {
			found = append(found, "could: "+try.name)
		}
	}
	return append(found, capabilities()...)
}

// notFor turns an error that only a privileged caller gets into success.
func notFor(privileged unix.Errno, err error) error {
	if errors.Is(err, privileged) {
		return nil
	}
	return err
}

func setns(name string) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, 0)
}

func readable(name string) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// writable opens a file for writing without writing to it.
func writable(name string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// rewrite writes the current content of a file to it.
func rewrite(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0)
}

// rewriteHostname sets the host's name to the current one.
func rewriteHostname() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

func openByHandle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/bin/program", 0)
	if err != nil {
		return err
	}
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// openNode creates a device node and opens it: what works for a harmless device works for a disk.
func openNode() error {
	if err := unix.Mknod("/tmp/node", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil { // zero
		return err
	}
	defer os.Remove("/tmp/node")
	return readable("/tmp/node")
}

// stealFiles copies file descriptors of pid 1.
func stealFiles() error {
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var errs []error
	for n := range 10 {
		got, err := unix.PidfdGetfd(fd, n, 0)
		if err == nil {
			unix.Close(got)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// capabilities returns the capabilities that this program should not have.
func capabilities() (found []string) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return []string{err.Error()}
	}
	for _, c := range []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO,
		unix.CAP_SYS_TIME, unix.CAP_BPF, unix.CAP_DAC_READ_SEARCH} {
		if data[c/32].Permitted>>(c%32)&1 == 1 {
			found = append(found, fmt.Sprintf("has capability %d", c))
		}
	}
	return found
}

// undo tries to access what mounts hide or make read-only, and tries again in a user namespace of
// its own.
func undo() (found []string) {
	for _, name := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/kcore", "/proc", "/dev", "/sys",
		"/run", "/"} {
		for _, flags := range []int{0, unix.MNT_DETACH} {
			if err := unix.Unmount(name, flags); err == nil {
				found = append(found, "could: umount "+name)
			}
		}
	}
	const at = "/tmp/at"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return append(found, err.Error())
	}
	if err := unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err == nil {
		found = append(found, "could: make /proc/sys writable")
	}
	for _, source := range []string{"proc", "/proc", "/proc/sys"} {
		fstype, flags := "", uintptr(unix.MS_BIND)
		if source == "proc" {
			fstype, flags = source, 0
		}
		if err := unix.Mount(source, at, fstype, flags, ""); err != nil {
			continue
		}
		for _, name := range []string{"/sys/kernel/core_pattern", "/kernel/core_pattern", "/sysrq-trigger"} {
			if err := unix.Unmount(at+filepath.Dir(filepath.Dir(name)), unix.MNT_DETACH); err == nil &&
				strings.Count(name, "/") > 2 {
				_ = unix.Unmount(at+"/sys", 0) // it is removed with its tree, or not at all
			}
			if err := writable(at + name); err == nil {
				found = append(found, "could: write "+name+" by a mount of "+source)
			}
		}
		_ = unix.Unmount(at, unix.MNT_DETACH) // if it stays, the next mount covers it
	}
	if slices.Contains(os.Args, "again") {
		return found
	}
	cmd := exec.Command("/bin/program", "undo", "again")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: 0, ContainerID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: 0, ContainerID: 0, Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err == nil && len(out) > 0 {
		found = append(found, "in a user namespace of its own: "+string(out))
	}
	return found
}

// useMounts mounts like hooks and debootstrap, and returns what does not work.
func useMounts() (found []string) {
	check := func(what string, err error) {
		if err != nil {
			found = append(found, what+": "+err.Error())
		}
	}
	check("make directories", errors.Join(os.MkdirAll("/tmp/root/proc", 0o755), os.MkdirAll("/tmp/root/mnt", 0o755),
		os.WriteFile("/tmp/file", []byte("x"), 0o644)))
	check("mount proc", unix.Mount("proc", "/tmp/root/proc", "proc", 0, ""))
	check("the new proc", readable("/tmp/root/proc/self/status"))
	check("bind a directory", unix.Mount("/tmp", "/tmp/root/mnt", "", unix.MS_BIND, ""))
	check("the directory", readable("/tmp/root/mnt/file"))
	check("make it private", unix.Mount("", "/tmp/root/mnt", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	check("make it read-only", unix.Mount("", "/tmp/root/mnt", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err := writable("/tmp/root/mnt/file"); !errors.Is(err, unix.EROFS) {
		found = append(found, fmt.Sprintf("a read-only directory can be written: %v", err))
	}
	check("umount it", unix.Unmount("/tmp/root/mnt", 0))
	if err := readable("/tmp/root/mnt/file"); err == nil {
		found = append(found, "it is still mounted")
	}
	check("mount a tmpfs", unix.Mount("none", "/tmp/root/mnt", "tmpfs", 0, "size=1m"))
	check("write there", os.WriteFile("/tmp/root/mnt/file", nil, 0o644))
	check("umount it", unix.Unmount("/tmp/root/mnt", 0))
	check("umount a part of proc", unix.Unmount("/tmp/root/proc/sys", 0))
	if err := rewrite("/tmp/root/proc/sys/kernel/core_pattern"); err == nil {
		found = append(found, "the new proc can be written to")
	}
	check("umount proc", unix.Unmount("/tmp/root/proc", 0))
	if err := unix.Unmount("/tmp/root/proc", 0); !errors.Is(err, unix.EINVAL) {
		found = append(found, fmt.Sprintf("umount succeeded without a mount: %v", err))
	}
	return found
}
