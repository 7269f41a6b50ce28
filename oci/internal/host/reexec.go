// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// ReexecConfig is what the program sees when it runs again.
type ReexecConfig struct {
	// Args are its arguments, its name among them: os.Args.
	Args []string
	// Env is its environment: os.Environ(). No other process can read it.
	Env []string
	// Message is what Message gives there. No other process can read it either.
	Message []byte
	// Stdin, Stdout and Stderr may be nil, for /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Isolation is how containers are to be made; empty takes what works.
	Isolation Isolation
	// StateDir is where the Engine will keep its things: the isolation chroot tries there what it needs.
	StateDir string
}

// signalGrace is how long a cancelled context waits for a signal before the child is told to end. A context made with
// signal.NotifyContext ends at the very moment that the signal arrives here, too, and a program takes two for a
// demand to drop everything.
const signalGrace = 100 * time.Millisecond

// Reexec runs this very program again where containers can be made, waits for it and returns its exit status;
// 128 and the number of the signal if one killed it. There Inside is true, the process is uid 0 (which
// outside is the caller), and pid 1 of its own pid namespace.
//
// SIGINT, SIGTERM and SIGHUP are passed on, once each; the process has its own process group, so that a terminal does
// not send them, too. A second SIGINT kills. The end of ctx passes on SIGTERM. When this process dies, by whatever
// signal, the other and all that it has started die with it.
//
// An error is a *HostError if the host does not allow this.
func Reexec(ctx context.Context, cfg ReexecConfig) (int, error) {
	// Pdeathsig comes when the thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process.Hide()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)

	child, err := enterNamespaces(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer child.lifeline.Close()

	done := make(chan error, 1)
	// The process was started by this thread, but any may wait for it.
	go func() { done <- child.cmd.Wait() }()
	return child.attend(ctx, signals, done)
}

// entered is a child that runs in the new namespaces.
type entered struct {
	cmd      *exec.Cmd
	lifeline *os.File
}

// attend passes signals on until the child ends.
func (e *entered) attend(ctx context.Context, signals <-chan os.Signal, done <-chan error) (int, error) {
	interrupts, forwarded := 0, false
	cancelled := ctx.Done()
	var overdue <-chan time.Time
	for {
		select {
		case s := <-signals:
			forwarded = true
			if s == unix.SIGINT {
				interrupts++
			}
			if interrupts > 1 {
				s = unix.SIGKILL
			}
			_ = e.cmd.Process.Signal(s) // it may just have ended
		case <-cancelled:
			cancelled = nil
			overdue = time.After(signalGrace)
		case <-overdue:
			if !forwarded {
				_ = e.cmd.Process.Signal(unix.SIGTERM)
			}
		case err := <-done:
			var exitErr *exec.ExitError
			if err != nil && !errors.As(err, &exitErr) {
				return 0, fmt.Errorf("wait for the child in the namespace: %w", err)
			}
			status := e.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if status.Signaled() {
				if interrupts > 1 {
					return 128 + int(unix.SIGINT), nil
				}
				return 128 + int(status.Signal()), nil
			}
			return status.ExitStatus(), nil
		}
	}
}

// EnterFailure is what the helper reports.
type EnterFailure struct {
	Try   Attempt
	Errno syscall.Errno
	Text  string
}

// NewEnterFailure describes an error that came of trying to do what text says.
func NewEnterFailure(try Attempt, text string, err error) *EnterFailure {
	f := &EnterFailure{Try: try, Text: text}
	if !errors.As(err, &f.Errno) {
		f.Text += ": " + err.Error()
	}
	return f
}

// Diagnose says what the host lacks, on behalf of a user.
func (f *EnterFailure) Diagnose(user string) *Error {
	return Diagnose(f.Try, fmt.Errorf("%s: %w", f.Text, f.Errno), GatherFacts(user))
}

// enterNamespaces starts the program where containers can be made, by the first isolation that this host allows.
func enterNamespaces(ctx context.Context, cfg ReexecConfig) (*entered, error) {
	if err := checkLimits(unix.Getuid(), processLimit); err != nil {
		return nil, err
	}
	var refused []error
	for _, isolation := range candidates(cfg.Isolation, unix.Getuid()) {
		child, err := enterBy(ctx, cfg, isolation, refused)
		if err == nil {
			return child, nil
		}
		var host *Error
		if !errors.As(err, &host) {
			return nil, err
		}
		refused = append(refused, err)
	}
	return nil, noneWorks(refused)
}

// enterBy starts the helper, maps its ids and waits until it is this program again; refused are the errors of
// other kinds of isolation.
func enterBy(ctx context.Context, cfg ReexecConfig, isolation Isolation, refused []error) (_ *entered, err error) {
	uid, gid := unix.Getuid(), unix.Getgid()
	if err := isolation.suits(uid); err != nil {
		return nil, err
	}
	name := CallerName(uid)
	var maps IDMaps
	var mounts hostCopies
	switch {
	case isolation == IsolationUserNS && uid == 0 && mayMount():
		if maps, err = OwnIDs(); err == nil {
			mounts, err = copyHost()
		}
	case isolation == IsolationUserNS && uid == 0:
		if maps, err = rootIDs(); err == nil {
			err = enoughIDs()
		}
	case isolation == IsolationUserNS:
		for _, program := range []string{"newuidmap", "newgidmap"} {
			if _, err := exec.LookPath(program); err != nil {
				return nil, Diagnose(tryIDMap, err, GatherFacts(name))
			}
		}
		maps, err = findIDMaps(ctx, name, uid, gid)
	case isolation == IsolationSingle:
		maps = singleIDs(uid, gid)
	default:
		err = enoughIDs()
	}
	if err != nil {
		return nil, err
	}

	defer mounts.close()

	childLifeline, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childLifeline.Close()
	report, childReport, err := os.Pipe()
	if err != nil {
		lifeline.Close()
		return nil, err
	}
	defer report.Close()

	handed, err := (&handover{
		Env: cfg.Env, Message: cfg.Message, Isolation: isolation, Why: causes(refused), Caller: uid, Try: cfg.StateDir,
		Mounts: mounts.places(),
	}).file()
	if err != nil {
		return nil, errors.Join(err, lifeline.Close(), childReport.Close())
	}
	defer handed.Close()

	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{process.NameEnter}, cfg.Args...),
		Env:         []string{},
		ExtraFiles:  []*os.File{childLifeline, childReport, handed},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: isolation.namespaces(), Pdeathsig: unix.SIGKILL, Setpgid: true},
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, mounts.files()...)
	// An interface that holds a nil pointer is not nil.
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	if isolation.namespaces()&unix.CLONE_NEWUSER != 0 {
		// Until the ids are mapped the child has no uid that means anything, and exec would take its capabilities
		// away. Ambient ones stay. All of them are needed: under no_new_privs the program, which is started again as
		// root, gets no capability that the child has not (cap_bprm_creds_from_file of security/commoncap.c). The
		// maps are not given to Go, which would write them itself and may not.
		cmd.SysProcAttr.AmbientCaps = process.AllCapabilities()
	}
	err = cmd.Start()
	childReport.Close()
	if err != nil {
		lifeline.Close()
		return nil, Diagnose(TryClone, err, GatherFacts(name))
	}
	child := &entered{cmd, lifeline}
	defer func() {
		if err != nil {
			_ = lifeline.Close()
			_ = cmd.Process.Kill() // it may have ended by itself
			_ = cmd.Wait()         // and how is of no interest
		}
	}()
	if isolation.namespaces()&unix.CLONE_NEWUSER != 0 {
		if err := maps.write(ctx, cmd.Process.Pid); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, Diagnose(tryIDMap, err, GatherFacts(name))
		}
	}
	if len(mounts) > 0 {
		if err := mounts.mapTo(cmd.Process.Pid, "/", ".", cfg.StateDir); err != nil {
			return nil, Diagnose(tryMapMounts, err, GatherFacts(name))
		}
	}
	if _, err := lifeline.Write([]byte{0}); err != nil {
		return nil, fmt.Errorf("start the child in the namespace: %w", err)
	}
	// The pipe ends without a word when the child has become the program.
	text, err := io.ReadAll(report)
	if err != nil {
		return nil, fmt.Errorf("start the child in the namespace: %w", err)
	}
	if len(text) > 0 {
		var f EnterFailure
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("start the child in the namespace: %q: %w", text, err)
		}
		return nil, f.Diagnose(name)
	}
	return child, nil
}

// enoughIDs finds out whether root is root of a namespace that somebody else made with too few ids.
func enoughIDs() error {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil // a kernel without user namespaces has all ids
	}
	var n uint64
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 {
			if r, ok := parseRange(fields[0], fields[2]); ok {
				n += r.Count
			}
		}
	}
	if n <= minSubIDs {
		return &Error{
			Cause: fmt.Sprintf("this user namespace has only %d user ids, and Debian needs %d", n, minSubIDs+1),
			Fix:   "start the program outside of the namespace, or in one with more ids",
		}
	}
	return nil
}

// Enter is the helper: it runs in the new namespaces, becomes uid 0 and then the program.
func Enter() {
	// What a thread gives up, another would keep; exec goes on with this one.
	runtime.LockOSThread()
	if _, err := io.ReadFull(process.Lifeline(), make([]byte, 1)); err != nil {
		process.Exit(process.StatusKilled) // the parent is gone, or has given up
	}
	process.Hide() // only now: the maps of a hidden process are root's to write
	try, text := tryStartSelf, "hand over the arguments"
	h, err := readHandover()
	if err == nil {
		process.SetEnvironment(h.Env)
		try, text, err = becomeProgram(h)
	}
	failure := NewEnterFailure(try, text, err)
	// If this fails, too, the parent still sees the exit status.
	_ = json.NewEncoder(os.NewFile(process.FdReport, "report")).Encode(failure)
	process.Exit(1)
}

// becomeProgram returns only if it fails.
func becomeProgram(h *handover) (Attempt, string, error) {
	program := "/proc/self/exe"
	if h.Isolation == IsolationChroot {
		if try, text, err := tryChroot(h.Try); err != nil {
			return try, text, err
		}
		return startAgain(program)
	}
	if h.ownIDs() {
		// They are root's of the host.
		if err := unix.Setgroups(nil); err != nil {
			return tryBecome, "leave the groups", err
		}
	}
	// Supplementary groups stay: the caller may need them to write its output.
	if err := unix.Setresgid(0, 0, 0); err != nil {
		return tryBecome, "become gid 0", err
	}
	if err := unix.Setresuid(0, 0, 0); err != nil {
		return tryBecome, "become uid 0", err
	}
	if err := process.DropAmbient(); err != nil {
		return tryBecome, "drop ambient capabilities", err
	}
	// The change of the credentials has cleared this.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return tryBecome, "set the death signal", err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return tryMount, "make the mounts private", err
	}
	if h.ownIDs() {
		var err error
		if program, err = enterMounts(process.FdMounts, h.Mounts); err != nil {
			return tryMapMounts, "enter the mapped mounts", err
		}
	}
	// In a container whose /proc is partly hidden the kernel refuses; the host's /proc then does for us as well.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil &&
		!errors.Is(err, unix.EPERM) {
		return tryMount, "mount /proc", err
	}
	if h.ownIDs() && h.Try != "" {
		// Where a mapped mount cannot be below one, each step would be a full copy.
		if err := TryOverlay(h.Isolation, ExistingDir(h.Try)); err != nil {
			return tryMapMounts, "mount an overlay on mapped mounts", err
		}
	}
	return startAgain(program)
}

// startAgain makes this process the program, given by its file; it returns only if it fails.
func startAgain(program string) (Attempt, string, error) {
	namespace, err := mountNamespace()
	if err != nil {
		return tryStartSelf, "name the mount namespace", err
	}
	if err := process.LeaveKeyring(); err != nil {
		return tryStartSelf, "start", err
	}
	unix.CloseOnExec(process.FdReport)
	env := append(process.EarlyVariables(os.Environ()), EnvInside+"="+namespace) //nolint:forbidigo // what was handed over
	return tryStartSelf, "start", unix.Exec(program, os.Args[1:], env)
}
