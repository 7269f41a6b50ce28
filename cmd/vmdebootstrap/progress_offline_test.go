// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// onTerminal runs a command with standard error on a terminal and returns what is written there and to standard output,
// the longest silence, and the error of the command. seen, which may be nil, is called with all that was written so
// far.
func onTerminal(t *testing.T, cmd *exec.Cmd, seen func(user *os.File, text string)) (terminal, stdout string,
	silence time.Duration, err error) {
	t.Helper()
	user, program, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	if err := pty.Setsize(program, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Env = append(cmd.Environ(), "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, &out, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	var all []byte
	last := time.Now()
	for buf := make([]byte, 4096); ; {
		n, err := user.Read(buf)
		silence, last = max(silence, time.Since(last)), time.Now()
		all = append(all, buf[:n]...)
		if err != nil {
			break // EIO: nobody has the terminal any more
		}
		if seen != nil {
			seen(user, string(all))
		}
	}
	return string(all), out.String(), silence, cmd.Wait()
}

// belowBlock returns what stands at the end of the terminal, where the live block was.
func belowBlock(text string) string { return text[strings.LastIndex(text, "\x1b[J")+len("\x1b[J"):] }

// quiet returns a build of out.tar without messages.
func (o *offline) quiet(state string, args ...string) *exec.Cmd {
	return o.command(state, append([]string{"--mirror=" + o.repo.URL(), "--lock-root-password", "--no-verbose",
		"--no-explain-cache"}, args...)...)
}

func TestTerminalShowsALiveBlockThenTheResult(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	text, stdout, _, err := onTerminal(t, o.quiet(state, "--log=stderr", "--log-level=info"), nil)
	if err != nil || stdout != "" {
		t.Fatalf("%v, standard output %q\n%s", err, stdout, text)
	}
	end := belowBlock(text)
	if !strings.HasPrefix(end, "wrote out.tar: ") || !strings.Contains(end, "\ndone in ") {
		t.Errorf("below the live block stands %q", end)
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\x1b[J", "\n"), "\n") {
		if i := strings.Index(line, "INFO "); i > 0 {
			t.Errorf("the log is not on a line of its own: %q", line)
		}
	}
	if !strings.Contains(text, "INFO set the host name to debian\r\n") {
		t.Errorf("there is no log in\n%s", text)
	}

	// With --verbose the result is there once, and a pipe gets no more than the messages.
	text, stdout, _, err = onTerminal(t, o.quiet(state, "--verbose"), nil)
	if err != nil || !strings.Contains(stdout, "\nwrote out.tar: ") || belowBlock(text) != "" {
		t.Errorf("%v, standard output %q, below the live block %q", err, stdout, belowBlock(text))
	}
}

func TestPipesSeeNoProgress(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	if out, err := o.quiet(o.machine()).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("got %v and %q", err, out)
	}
}

func TestInterruptErasesTheLiveBlock(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	sent := false
	text, _, _, err := onTerminal(t, o.quiet(o.machine(), "--run=sleep 1000"), func(user *os.File, text string) {
		if !sent && strings.Contains(text, " run command 1") {
			sent = true
			if _, err := user.WriteString("\x03"); err != nil { // Ctrl-C
				t.Error(err)
			}
		}
	})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("got %v\n%s", err, text)
	}
	if end := belowBlock(text); end != "ERROR: interrupted\r\n" {
		t.Errorf("at the end stands %q", end)
	}
}

// jsonEvents returns the events of --progress=json in what was written to standard error.
func jsonEvents(t *testing.T, stderr string) []progress.Event {
	t.Helper()
	var events []progress.Event
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			continue // an error as in the other modes
		}
		var e progress.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// summary returns the Summary, which must be the last event.
func summary(t *testing.T, stderr string) progress.Event {
	t.Helper()
	events := jsonEvents(t, stderr)
	if len(events) == 0 || events[len(events)-1].Kind != progress.Summary || events[len(events)-1].Result == nil {
		t.Fatalf("the last event is no summary:\n%s", stderr)
	}
	return events[len(events)-1]
}

func TestJSONEndsWithASummary(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	var stderr bytes.Buffer
	last := func(args ...string) progress.Event {
		t.Helper()
		var stdout bytes.Buffer
		stderr.Reset()
		cmd := o.quiet(state, append([]string{"--progress=json"}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run() // the summary says it
		if stdout.Len() > 0 {
			t.Errorf("standard output %q", stdout.String())
		}
		return summary(t, stderr.String())
	}
	first := last()
	r := first.Result
	if r.Error != "" || r.Cached != 0 || r.Downloaded == 0 || len(r.Files) != 1 || r.Files[0].Name != "out.tar" ||
		r.Files[0].Size == 0 || first.Step != first.Steps {
		t.Errorf("the first build: %+v of step %d/%d", r, first.Step, first.Steps)
	}
	if !slices.ContainsFunc(jsonEvents(t, stderr.String()), func(e progress.Event) bool {
		return e.Title == "make the toolbox" && e.Activity == "unpack" && e.Done > 0 && e.Done == e.Total
	}) {
		t.Errorf("the toolbox was made in silence:\n%s", stderr.String())
	}
	second := last()
	if r := second.Result; r.Error != "" || r.Cached == 0 || r.Downloaded != 0 || second.Steps != first.Steps {
		t.Errorf("the second build: %+v, %d steps instead of %d", r, second.Steps, first.Steps)
	}
	if r := last("--run=false").Result; !strings.Contains(r.Error, "run command 1") || len(r.Files) > 0 {
		t.Errorf("a build that failed: %+v", r)
	}
}

// Issue 17, 1: a pull reports its bytes, however short it is.
func TestPullReportsItsBytes(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.build(o.machine(), "--cache-to=oci:shared")
	var stderr bytes.Buffer
	cmd := o.quiet(o.machine(), "--cache-from=oci:shared", "--progress=json")
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if !slices.ContainsFunc(jsonEvents(t, stderr.String()), func(e progress.Event) bool {
		return e.Activity == "pull" && e.Unit == progress.Bytes && e.Done > 0 && e.Total > 0
	}) {
		t.Errorf("no bytes of a pull in\n%s", stderr.String())
	}
}
