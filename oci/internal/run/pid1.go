// SPDX-License-Identifier: Apache-2.0

package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// defaultUmask of programs in a container, whatever the caller's is.
const defaultUmask = 0o022

// PID1 is pid 1 of a container: it makes the mounts, starts the program, collects the exit status of whatever
// becomes its child and ends with the program. The kernel then kills what is left and undoes the mounts. Of a container
// without namespaces it is the parent, and kills what is left itself.
func PID1() {
	// Capabilities are dropped by thread, and the program is to be started by this one.
	runtime.LockOSThread()
	lifeline := process.Lifeline()
	var spec specs.Spec
	if err := json.NewDecoder(lifeline).Decode(&spec); err != nil {
		process.Exit(process.StatusKilled) // the parent is gone
	}
	process.Hide()
	process.KeepFiles()
	unix.Umask(defaultUmask) // mount points are made with it
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if isolated(&spec) {
		go process.WatchLifeline(lifeline)
	} else {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			panic(fmt.Sprintf("BUG: become a subreaper: %v", err)) // any process may, since Linux 3.4
		}
		go func() {
			_, _ = io.Copy(io.Discard, lifeline) // whatever ends it: the runner is gone
			process.EndChildren()
			process.Exit(process.StatusKilled)
		}()
	}

	var report containerReport
	m := mounter{single: spec.Annotations[annotationSingle] != ""}
	if err := startAndWait(&m, &spec, signals, &report); err != nil {
		report.Error = err.Error()
		var r *deniedError
		if errors.As(err, &r) {
			report.Refused = host.NewEnterFailure(r.try, r.text, r.err)
		}
	}
	if !isolated(&spec) {
		process.EndChildren()
	}
	report.Created = m.created
	// The runner says so itself if it gets no report.
	_ = json.NewEncoder(os.NewFile(process.FdReport, "report")).Encode(report)
	process.Exit(report.Status)
}

func startAndWait(m *mounter, spec *specs.Spec, signals <-chan os.Signal, report *containerReport) error {
	// The emulator is found by its name on the host.
	table, err := register(spec)
	if err != nil {
		return err
	}
	defer table.Close() // does nothing if there is none
	root := ""          // as this process sees it; the program's root directory is another one without namespaces
	if isolated(spec) {
		if err := m.enterRoot(spec); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("set the host name: %w", err)
		}
	} else {
		root = spec.Root.Path
	}
	if err := confine(spec); err != nil {
		return err
	}
	supervisor, err := supervise.Start(supervise.Options{
		Owners: spec.Annotations[annotationSingle] != "", SmallOffsets: spec.Annotations[annotationSmall] != "",
		Proc: spec.Annotations[annotationProcProxy] != "", Mounts: isolated(spec), Nested: nested(spec),
		Clones: true,
	})
	if errors.Is(err, unix.EBUSY) {
		return &deniedError{host.TryListener, "answer for programs", unix.EBUSY}
	}
	if err != nil {
		return err
	}
	if err := seccomp.Deny(); err != nil {
		return err
	}
	pid, err := startProcess(spec.Process, root, supervisor)
	if errors.Is(err, errNoProgram) {
		report.NotFound = true
		return nil
	}
	if err != nil {
		return err
	}
	go func() {
		for s := range signals {
			if root == "" {
				// To all but this process. If there are none any more, it is over anyway.
				_ = unix.Kill(-1, s.(syscall.Signal))
				continue
			}
			for _, pid := range process.Descendants(os.Getpid()) {
				_ = unix.Kill(pid, s.(syscall.Signal)) // as above
			}
			time.AfterFunc(killGrace, func() { _ = unix.Kill(pid, unix.SIGKILL) })
		}
	}()
	status := reap(pid)
	report.Status = status.ExitStatus()
	if status.Signaled() {
		report.Status, report.Signal = 0, status.Signal()
	}
	return supervisor.Err()
}

// reap collects the processes that end until one of them is pid.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && got == pid {
			return status
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("BUG: wait for process %d, which is a child: %v", pid, err))
		}
	}
}

// errNoProgram says that a program is nowhere in PATH.
var errNoProgram = errors.New("no such program")

// isolated reports whether a container has namespaces of its own.
func isolated(spec *specs.Spec) bool { return len(spec.Linux.Namespaces) > 0 }

// startProcess starts the program of a container. If root is not empty, it becomes the program's root
// directory. If there is a supervisor that keeps owners, the program's user exists only for it.
func startProcess(p *specs.Process, root string, s *supervise.Supervisor) (pid int, err error) {
	umask := uint32(defaultUmask)
	if p.User.Umask != nil {
		umask = *p.User.Umask
	}
	unix.Umask(int(umask))
	cwd := p.Cwd
	if cwd == "" {
		cwd = "/"
	}
	if _, err := statInRoot(root, cwd); err != nil {
		return 0, fmt.Errorf("change to the working directory %q: %w", cwd, errors.Unwrap(err))
	}
	program, err := lookPath(root, cwd, p.Args[0], p.Env)
	if err != nil {
		return 0, err
	}
	sys := &syscall.SysProcAttr{}
	if s.KeepsOwners() {
		// The supervisor answers execve(2) of the child while this thread waits for that, in vfork(2). A
		// garbage collection would wait for this thread.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		runtime.GC() // one that had begun already would go on
		err = s.SetUser(&p.User)
	} else {
		sys.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.AdditionalGids}
	}
	if err != nil {
		return 0, err
	}
	if root != "" {
		sys.Chroot, sys.Pdeathsig = root, unix.SIGKILL // pid 1 would take it along
	}
	pid, err = syscall.ForkExec(program, p.Args, &syscall.ProcAttr{Env: p.Env, Dir: cwd, Files: []uintptr{0, 1, 2},
		Sys: sys})
	if err != nil {
		return 0, describeExecError(root, program, err)
	}
	return pid, nil
}

// lookPath finds a program as execvp(3) would, by the PATH of its own environment.
func lookPath(root, cwd, program string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		file := program
		if !path.IsAbs(file) {
			file = path.Join(cwd, file)
		}
		if _, err := statInRoot(root, file); errors.Is(err, fs.ErrNotExist) {
			return "", errNoProgram
		}
		return program, nil
	}
	search := ""
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		file := path.Join("/", dir, program)
		if info, err := statInRoot(root, file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", errNoProgram
}

// statInRoot follows symbolic links as a program with that root directory would; an empty one is this process' own.
func statInRoot(root, name string) (fs.FileInfo, error) {
	if root == "" {
		return os.Stat(name)
	}
	f, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return nil, dirfd.PathError("stat", name, err)
	}
	defer f.Close()
	return f.Stat()
}

// openInRoot opens a file for reading, by its name as in statInRoot.
func openInRoot(root, name string) (*os.File, error) {
	if root == "" {
		return os.Open(name)
	}
	dir, err := dirfd.OpenDir(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// A file of the path-only kind can be opened anew by way of /proc only, which a container may have masked.
	fd, err := dirfd.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return nil, dirfd.PathError("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
