// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// VM is a running machine.
type VM struct {
	cmd        *exec.Cmd
	input      io.WriteCloser
	output     chan []byte // output of the console; closed at its end
	ended      chan struct{}
	waitErr    error
	complaints bytes.Buffer    // output of QEMU itself
	plain      strings.Builder // output without escapes, except for the last line
	line       []byte          // the last line, with escapes
	taken      int             // how much of the text Expect has returned
	silence    time.Duration   // since the last output, while Expect waits; counted in seconds
	loggedIn   bool
	shutdown   string // QEMU's reason for its end (ShutdownCause of QMP); "" if it had none
	control    *control
	dir        string // for temporary files

	// Progress, if not nil, is called about every second while Expect waits, with the last line of
	// the console.
	Progress func(lastLine string)
}

// longestMatch is larger than any text that Expect waits for.
const longestMatch = 4096

// escapes matches control sequences of a terminal (ECMA-48, 5.4), operating system commands such as systemd's resets of
// the palette ("\x1b]104\a"), single escapes and carriage returns.
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\a\x1b\n]*(?:\a|\x1b\\\\)|\x1b[()=<>78cEM]|\r")

// Plain returns a console's text without escape sequences.
func Plain(text []byte) string { return string(escapes.ReplaceAll(text, nil)) }

// Start starts a machine. It ends with this process, with ctx and with Stop. dir is for temporary
// files.
func Start(ctx context.Context, m Machine, dir string) (*VM, error) {
	program, args, err := m.Command(dir, "stdio")
	if err != nil {
		return nil, err
	}
	control, theirs, err := newControl()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	defer theirs.Close()
	args = append(args, controlArgs()...)
	v := &VM{cmd: exec.CommandContext(ctx, program, args...), output: make(chan []byte, 64), ended: make(chan struct{}),
		control: control, dir: dir}
	v.cmd.ExtraFiles = []*os.File{theirs}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	v.cmd.Cancel = func() error { return syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL) }
	v.cmd.Stderr = &v.complaints
	output, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, control.conn.Close())
	}
	if v.input, err = v.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, control.conn.Close())
	}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := v.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		shutdown := make(chan string, 1)
		go func() { shutdown <- control.serve() }()
		for {
			buf := make([]byte, 4096)
			n, err := output.Read(buf)
			if n > 0 {
				v.output <- buf[:n]
			}
			if err != nil {
				break
			}
		}
		close(v.output)
		v.waitErr = v.cmd.Wait()
		v.shutdown = <-shutdown // QEMU's end of the connection is closed
		_ = control.conn.Close()
		close(v.ended)
	}()
	if err := <-started; err != nil {
		_ = control.conn.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return v, nil
}

// kernelRuns matches output that proves that a kernel is running.
var kernelRuns = regexp.MustCompile(`Linux version |systemd\[1\]|login: `)

// StartAccelerated starts a machine with m.Accel, and once more with software emulation if its
// console is silent for the given time before a kernel runs: under KVM inside another virtual
// machine, kernels may hang although the boot loader did not. fellBack reports whether it started
// the machine again.
func StartAccelerated(ctx context.Context, m Machine, dir string, silence time.Duration) (v *VM, fellBack bool,
	err error) {
	if v, err = Start(ctx, m, dir); err != nil || v.showsKernel(ctx, silence) {
		return v, false, err
	}
	v.Stop()
	m.Accel = Software
	v, err = Start(ctx, m, dir)
	return v, true, err
}

// showsKernel waits for a kernel. It returns false only if the console is silent for too long before
// that.
func (v *VM) showsKernel(ctx context.Context, silence time.Duration) bool {
	for {
		if failure, _ := v.failure(v.Text()); failure != "" || kernelRuns.MatchString(v.Text()) {
			return true
		}
		select {
		case part, ok := <-v.output:
			if !ok {
				return true // Expect reports that it has ended
			}
			v.show(part)
		case <-ctx.Done():
			return true
		case <-time.After(silence):
			return false
		}
	}
}

// Expect waits until the console shows want, and returns the output since the last Expect up to the
// match, without escapes. It fails when ctx ends, when the machine ends, when the guest's kernel
// panics and, before Login, at messages after which waiting for a boot is useless, unless want
// matches them. The error is a *NotSeenError.
func (v *VM) Expect(ctx context.Context, want *regexp.Regexp) (string, error) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for searched := 0; ; {
		text := v.untaken()
		// A match could begin in text that was searched before.
		recent := text[max(0, searched-longestMatch):]
		if at := want.FindStringIndex(recent); at != nil {
			end := len(text) - len(recent) + at[1]
			v.taken += end
			return text[:end], nil
		}
		if reason, _ := v.failure(recent); reason != "" {
			v.drain(ctx)
			_, why := v.failure(v.untaken())
			return text, v.notSeen(want, reason, why)
		}
		searched = len(text)
		select {
		case part, ok := <-v.output:
			if !ok {
				<-v.ended
				reason, why := v.ending()
				return text, v.notSeen(want, reason, why)
			}
			v.show(part)
		case <-ticks.C:
			v.silence += time.Second
			if v.Progress != nil {
				v.Progress(lastLines(v.Text(), 1))
			}
		case <-ctx.Done():
			reason, why := Cancelled, ctx.Err().Error()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				reason, why = v.timeOver()
			}
			return text, v.notSeen(want, reason, why)
		}
	}
}

// untaken returns the output since the last Expect that has matched.
func (v *VM) untaken() string {
	text := v.Text()
	return text[min(v.taken, len(text)):]
}

// drain reads the rest of a message on the console.
func (v *VM) drain(ctx context.Context) {
	const pause = 500 * time.Millisecond // between two lines of a message
	for {
		select {
		case part, ok := <-v.output:
			if !ok {
				return
			}
			v.show(part)
		case <-time.After(pause):
			return
		case <-ctx.Done():
			return
		}
	}
}

func (v *VM) notSeen(want *regexp.Regexp, reason Reason, why string) error {
	e := &NotSeenError{Want: want.String(), Reason: reason, Why: why, Tail: lastLines(v.Text(), 50)}
	select {
	case <-v.ended:
		e.Complaints = v.complaints.String()
	default:
	}
	return e
}

// lastLines returns the last n lines of a text that are not empty.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Send types text on the console.
func (v *VM) Send(text string) error {
	_, err := io.WriteString(v.input, text)
	return err
}

// Text returns all output that Expect has seen, without escapes.
func (v *VM) Text() string { return v.plain.String() + Plain(v.line) }

// show adds output of the console. Escape sequences never continue on the next line.
func (v *VM) show(part []byte) {
	v.silence = 0
	v.line = append(v.line, part...)
	if end := bytes.LastIndexByte(v.line, '\n') + 1; end > 0 {
		v.plain.WriteString(Plain(v.line[:end]))
		v.line = append([]byte{}, v.line[end:]...)
	}
}

// Stop ends the machine like a power failure.
func (v *VM) Stop() {
	select {
	case <-v.ended:
		return
	default:
	}
	_ = v.cmd.Cancel() // it may already have ended
	for range v.output {
	}
	<-v.ended
}

// Wait waits until the machine powers off.
func (v *VM) Wait(ctx context.Context) error {
	for {
		select {
		case part, ok := <-v.output:
			if !ok {
				<-v.ended
				return v.waitErr
			}
			v.show(part)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// prompt matches a shell's prompt at the end of the output.
var prompt = regexp.MustCompile(`[#$] $`)

// Login logs in at a prompt that Expect has just seen. If the machine asks for no password,
// password is not used.
func (v *VM) Login(ctx context.Context, user, password string) error {
	if err := v.Send(user + "\n"); err != nil {
		return err
	}
	answer, err := v.Expect(ctx, regexp.MustCompile(`Password: |[#$] $`))
	if err != nil {
		return fmt.Errorf("log in as %s: %w", user, err)
	}
	if !strings.HasSuffix(answer, "Password: ") {
		v.loggedIn = true
		return nil
	}
	if err := v.Send(password + "\n"); err != nil {
		return err
	}
	answer, err = v.Expect(ctx, regexp.MustCompile(`Login incorrect|[#$] $`))
	if err != nil {
		return fmt.Errorf("log in as %s: %w", user, err)
	}
	if !prompt.MatchString(answer) {
		return fmt.Errorf("log in as %s: the password is wrong", user)
	}
	v.loggedIn = true
	return nil
}

// unlockPrompt matches the question of cryptsetup-initramfs, and of systemd, for the passphrase of an encrypted disk.
var unlockPrompt = regexp.MustCompile(`Please unlock disk [^\n]*: |[Pp]lease enter passphrase for disk [^\n]*: ?`)

// unlockResult matches what cryptsetup-initramfs prints about a passphrase, or the begin of systemd.
var unlockResult = regexp.MustCompile(`set up successfully|bad password or options|systemd\[1\]|login: `)

// Unlock waits for the question for the passphrase of an encrypted disk, and types it.
func (v *VM) Unlock(ctx context.Context, passphrase string) error {
	if _, err := v.Expect(ctx, unlockPrompt); err != nil {
		return fmt.Errorf("unlock the disk: %w", err)
	}
	if err := v.Send(passphrase + "\n"); err != nil {
		return fmt.Errorf("unlock the disk: %w", err)
	}
	answer, err := v.Expect(ctx, unlockResult)
	if err != nil {
		return fmt.Errorf("unlock the disk: %w", err)
	}
	if strings.HasSuffix(answer, "bad password or options") {
		return errors.New("unlock the disk: the passphrase is wrong")
	}
	return nil
}

// marker separates the output of a command from other output. The shell echoes a line before it
// runs it, so the typed line must not match the marker.
const marker = "vmdebootstrap-run"

// Run runs a shell command on the console, at a shell's prompt, and returns its output and exit
// status. The command runs in a subshell, so that "exit" does not end the session.
func (v *VM) Run(ctx context.Context, command string) (output string, status int, err error) {
	line := fmt.Sprintf("printf '%%s-begin\\n' %s; (%s\n); printf '%%s-end=%%d\\n' %s $?\n", marker, command, marker)
	if err := v.Send(line); err != nil {
		return "", 0, err
	}
	if _, err := v.Expect(ctx, regexp.MustCompile(marker+`-begin\n`)); err != nil {
		return "", 0, fmt.Errorf("run %q: %w", command, err)
	}
	text, err := v.Expect(ctx, regexp.MustCompile(marker+`-end=\d+\n`))
	if err != nil {
		return text, 0, fmt.Errorf("run %q: %w", command, err)
	}
	at := strings.LastIndex(text, marker+"-end=")
	if _, err := fmt.Sscanf(text[at:], marker+"-end=%d", &status); err != nil {
		return text, 0, err
	}
	// The shell prints its prompt for the second line.
	return strings.TrimPrefix(text[:at], "> "), status, nil
}
