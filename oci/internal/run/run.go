// SPDX-License-Identifier: Apache-2.0

// Package run runs one program in a root file system, as a specs.Spec says, and ends with it: pid 1 of a
// container is this very program (PID1), which makes the mounts, drops the rights that programs must not
// have, has package supervise answer their system calls, starts the program and collects what it leaves
// behind.
//
// Runner is what a caller holds. Where nothing can be mounted, Binds puts copies in place of mounts, and
// brings back what has changed in shared directories. An emulator for programs of other processors is
// registered for one run alone.
//
// It knows nothing of a store, layers or snapshots: a root file system is the interface Root.
package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// ExitError says that a program in a container did not succeed.
type ExitError struct {
	// Args are those of the program.
	Args []string
	// Status is its exit status; 0 if a signal ended it.
	Status int
	// Signal ended it, unless 0.
	Signal syscall.Signal
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s: ended by the signal %s", e.Args[0], unix.SignalName(e.Signal))
	}
	return fmt.Sprintf("%s: exit status %d", e.Args[0], e.Status)
}

// ExitStatus is the status as a shell tells it: 128 and the number of the signal if one ended the program.
func (e *ExitError) ExitStatus() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Status
}

// killGrace is the time between SIGTERM to all processes of a container and SIGKILL. What they leave half
// done is thrown away; this is for programs that want to say so.
const killGrace = 2 * time.Second

// cloneFlags are those of clone(2) for the namespaces that a Spec may name.
var cloneFlags = map[specs.LinuxNamespaceType]uintptr{
	specs.PIDNamespace:   unix.CLONE_NEWPID,
	specs.MountNamespace: unix.CLONE_NEWNS,
	specs.IPCNamespace:   unix.CLONE_NEWIPC,
	specs.UTSNamespace:   unix.CLONE_NEWUTS,
	specs.UserNamespace:  unix.CLONE_NEWUSER,
}

// containerReport is what pid 1 of a container tells the runner at its end.
type containerReport struct {
	Status int
	Signal syscall.Signal
	// Error says why the program could not be started.
	Error string
	// Refused says what the host did not allow.
	Refused *host.EnterFailure
	// NotFound: there is no such program.
	NotFound bool
	// Created are the mount points that were made in the root file system, the outermost first.
	Created []string
}

// Runner runs programs in root file systems. The exported fields are set before the first run; it may then be used by
// several goroutines.
type Runner struct {
	// Place is where this process runs.
	Place host.Place
	// Template is a directory with which /run begins in containers, see writeTemplate. Resolver is the content of
	// the resolv.conf that programs see; empty for none.
	Template string
	Resolver []byte
	// Covered, Keep and Movable are for runs without mounts: a directory for what a mount would cover, on the
	// file system of the root file systems; one that is never copied; and whether a directory may be moved
	// for the time of a run.
	Covered, Keep string
	Movable       func(dir string) bool

	mu       sync.Mutex
	emulator *emulator // nil for none
}

// Root is a root file system that programs run in. Names are resolved in it.
type Root interface {
	// Root is its root directory.
	Root() string
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte, mode fs.FileMode) error
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	Remove(name string) error
}

// Run runs a program with c as its root directory; the mounts come after the usual ones of Spec. It
// returns when the program and everything that it started are gone. Standard output and error go to out, which sees
// one Write at a time; nil drops them. A nil stdin is an empty one.
//
// A stdin that is no *os.File must come to an end by itself.
//
// A name server is at hand: what /etc/resolv.conf points to below /run gets the host's content, and if there is no
// such file, it is there for the time of the run. An ordinary file is left as it is.
//
// At the end of ctx all processes get SIGTERM, and SIGKILL two seconds later. The error is an *ExitError if the
// program did not succeed; it wraps fs.ErrNotExist if there is no such program.
func (r *Runner) Run(ctx context.Context, c Root, p *specs.Process, mounts []specs.Mount, stdin io.Reader,
	out io.Writer) (err error) {
	if len(p.Args) == 0 {
		return errors.New("run a program in the container: no program given")
	}
	if name := unsupported(p); name != "" {
		return fmt.Errorf("run %s in the container: %s of the process is not supported", p.Args[0], name)
	}
	unresolve, err := r.resolve(c)
	if err != nil {
		return fmt.Errorf("share the container a name server: %w", err)
	}
	defer func() { err = errors.Join(err, unresolve()) }()
	spec := Spec(c.Root(), p, append(MountsForRun(r.Template, "/run"), mounts...))
	if err := r.emulate(spec); err != nil {
		return err
	}
	if r.Place.Isolation == host.IsolationUserNS || r.Place.SingleID() {
		if err := nest(spec, r.Place.OwnRange); err != nil {
			return fmt.Errorf("run %s in the container: %w", p.Args[0], err)
		}
	}
	switch r.Place.Isolation {
	case host.IsolationChroot:
		return r.runInPlace(ctx, spec, stdin, out)
	case host.IsolationSingle:
		spec.Annotations = maps.Clone(spec.Annotations)
		if spec.Annotations == nil {
			spec.Annotations = map[string]string{}
		}
		spec.Annotations[annotationSingle] = "true"
	}
	report, err := runSpec(ctx, spec, stdin, out)
	for i := len(report.Created) - 1; i >= 0; i-- {
		err = errors.Join(err, removeMountPoint(c, report.Created[i]))
	}
	return err
}

// removeMountPoint removes what a run made to mount on, unless something is in it by now.
func removeMountPoint(c Root, name string) error {
	info, err := c.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if empty := info.IsDir() || info.Mode().IsRegular() && info.Size() == 0; !empty {
		return nil
	}
	if err := c.Remove(name); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// runSpec runs a container and waits for its end.
func runSpec(ctx context.Context, spec *specs.Spec, stdin io.Reader, out io.Writer) (containerReport, error) {
	program := spec.Process.Args[0]
	// The death signal comes when the thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	childLifeline, lifeline, err := os.Pipe()
	if err != nil {
		return containerReport{}, err
	}
	defer lifeline.Close()
	reportPipe, childReport, err := os.Pipe()
	if err != nil {
		childLifeline.Close()
		return containerReport{}, err
	}
	defer reportPipe.Close()

	var flags uintptr
	for _, n := range spec.Linux.Namespaces {
		flags |= cloneFlags[n.Type]
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{process.NameContainer}
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	cmd.ExtraFiles = []*os.File{childLifeline, childReport}
	// A session of its own keeps a terminal's signals away.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags, Setsid: true,
	}
	pidfd := -1
	if nested(spec) {
		// The ids are mapped when it runs already, and exec would take its capabilities away. Ambient ones stay.
		cmd.SysProcAttr.PidFD, cmd.SysProcAttr.AmbientCaps = &pidfd, process.AllCapabilities()
	}
	if isolated(spec) { // else it has to end others first, when its lifeline does
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	Starting.RLock()
	err = cmd.Start()
	Starting.RUnlock()
	childLifeline.Close()
	childReport.Close()
	if pidfd >= 0 {
		defer unix.Close(pidfd)
	}
	if err != nil && nested(spec) {
		return containerReport{}, host.Diagnose(host.TryClone, err, host.GatherFacts(host.CallerName(unix.Getuid())))
	}
	if err != nil {
		return containerReport{}, fmt.Errorf("start a container for %s: %w", program, err)
	}
	stop := context.AfterFunc(ctx, func() {
		// Either may come too late, and then there is nothing to do.
		_ = cmd.Process.Signal(unix.SIGTERM)
		if isolated(spec) { // else it kills the program itself after that time, and ends
			time.AfterFunc(killGrace, func() { _ = cmd.Process.Kill() })
		}
	})
	defer stop()
	var sendErr error
	if nested(spec) {
		sendErr = host.MapIDs(ctx, spec, pidfd)
	}
	if sendErr == nil {
		letOthersStart()
		sendErr = json.NewEncoder(lifeline).Encode(spec)
	}
	if sendErr != nil {
		_ = cmd.Process.Kill() // it may be dead, which is why it did not read
	}
	text, readErr := io.ReadAll(reportPipe)
	waitErr := cmd.Wait()
	if err := context.Cause(ctx); err != nil {
		return containerReport{}, fmt.Errorf("run %s: %w", program, err)
	}
	if err := errors.Join(sendErr, readErr); err != nil {
		return containerReport{}, fmt.Errorf("run %s: talk to the container: %w", program, err)
	}
	var report containerReport
	if err := json.Unmarshal(text, &report); err != nil {
		// pid 1 was killed, or has a bug.
		return containerReport{}, fmt.Errorf("run %s: the container ended without a report: %w", program,
			errors.Join(waitErr, err))
	}
	var exitErr *exec.ExitError
	switch {
	case report.NotFound:
		return report, fmt.Errorf("run %s in %s: %w", program, filepath.Base(spec.Root.Path), &notFoundError{program})
	case report.Refused != nil:
		return report, report.Refused.Diagnose(host.CallerName(unix.Getuid()))
	case report.Error != "":
		return report, fmt.Errorf("run %s: %s", program, report.Error)
	case report.Status != 0 || report.Signal != 0:
		return report, &ExitError{spec.Process.Args, report.Status, report.Signal}
	case waitErr != nil && !errors.As(waitErr, &exitErr):
		return report, fmt.Errorf("run %s: %w", program, waitErr) // out or stdin gave an error
	}
	return report, nil
}

// Starting is held for reading while a process starts. It has all files of this one until it is another
// program, and a file that is open for writing cannot be run (ETXTBSY, https://go.dev/issue/22315). In a user
// namespace of its own it starts beside its parent, and package syscall does not wait for it with its
// ForkLock held.
var Starting sync.RWMutex

// letOthersStart waits until none of the processes that start at this moment has files any more that this one
// has closed.
func letOthersStart() {
	Starting.Lock()
	Starting.Unlock() //nolint:staticcheck // whoever came before is done
	syscall.ForkLock.RLock()
	syscall.ForkLock.RUnlock() //nolint:staticcheck // as above
}

// notFoundError says that a root file system lacks a program.
type notFoundError struct{ program string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf("the container has no program %q", e.program)
}
func (e *notFoundError) Unwrap() error { return os.ErrNotExist }
