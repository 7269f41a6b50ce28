// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

func TestActionsArePlannedInTheirPhasesAndInOrder(t *testing.T) {
	t.Parallel()
	plan := testPlan(t, func(o *Options) {
		for _, a := range [][2]string{
			{"--run", "systemctl enable a"}, {"--customize", "/hooks/one"}, {"--copy-in", "/hooks/tree:/opt/"},
			{"--hook", "essential:/hooks/early"}, {"--hook", "image:/hooks/late"}, {"--run", "true"},
		} {
			action, err := ParseAction(a[0], a[1])
			if err != nil {
				t.Fatal(err)
			}
			o.Actions = append(o.Actions, action)
		}
	})
	var titles []string
	for _, s := range plan.Steps {
		if k := s.Kind(); k == "hook" || k == "command" || k == "copy" || strings.HasPrefix(k, "apt") {
			titles = append(titles, s.Title())
		}
	}
	want := []string{
		"customize with /hooks/early", "install acpid linux-image-amd64 systemd-resolved", "run command 1 of --run",
		"customize with /hooks/one", "copy /hooks/tree to /opt/", "run command 2 of --run",
	}
	if !slices.Equal(titles, want) {
		t.Errorf("got %q, want %q", titles, want)
	}
}

func TestMistakesInActionsAreFoundBeforeWorkStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ flag, text, want string }{
		{"--hook", "early:/hooks/x", "PHASE of essential or image"},
		{"--hook", "/hooks/x", "PHASE of essential or image"},
		{"--hook", "image:", "PHASE of essential or image"},
		{"--copy-in", "/hooks/x", "not SRC:DST"},
		{"--copy-in", "/hooks/x:etc", "absolute DST"},
		{"--copy-in", "/missing:/etc/x", "not exist"},
		{"--run", "  ", "empty command"},
	} {
		action, err := ParseAction(tt.flag, tt.text)
		if err == nil {
			_, err = NewSpec(options(func(o *Options) { o.Actions = []Action{action} }), testWorld())
			var problem *problem.Problem
			if errors.As(err, &problem) && problem.Flag != tt.flag {
				t.Errorf("%s %q: blames %s", tt.flag, tt.text, problem.Flag)
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: got %v, want %q in it", tt.flag, tt.text, err, tt.want)
		}
	}
	tarball := options(func(o *Options) {
		o.Image, o.Tarball, o.Actions = "", "x.tar", []Action{{Phase: hooks.PhaseImage, Text: "hook.sh"}}
	})
	if _, err := NewSpec(tarball, testWorld()); err == nil || !strings.Contains(err.Error(), "--hook") {
		t.Errorf("an image hook without an image: %v", err)
	}
}

func TestCopyInMergesATreeAndKeepsModes(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(src, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(os.WriteFile(filepath.Join(src, "etc/new"), []byte("new"), 0o600),
		os.WriteFile(filepath.Join(src, "program"), []byte("#!/bin/sh"), 0o755),
		os.Symlink("program", filepath.Join(src, "link")))
	if err != nil {
		t.Fatal(err)
	}
	f := targettest.New(t, map[string]string{"/etc/old": "old"})
	for _, s := range []step.Copy{{Copy: src, Destination: "/"}, {Copy: src, Name: "tree", Destination: "/opt/"},
		{Copy: filepath.Join(src, "program"), Destination: "/usr/bin/p"}} {
		if err := runStep(t, f, s); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"/etc/old": "old", "/etc/new": "new", "/link": "-> program", "/opt/tree/etc/new": "new",
		"/usr/bin/p": "#!/bin/sh",
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]os.FileMode{"/etc/new": 0o600, "/usr/bin/p": 0o755, "/opt/tree/program": 0o755} {
		if info, err := f.Lstat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}

// Each file was read into memory, and lost its setuid bit, its time and its holes (issue 14, 14).
func TestCopyInKeepsSetuidTimesAndHoles(t *testing.T) {
	t.Parallel()
	const hole = 1 << 30
	dir := t.TempDir()
	src := filepath.Join(dir, "tree")
	then := time.Unix(1_500_000_000, 123_000_000)
	sparse, program := filepath.Join(src, "sparse"), filepath.Join(src, "program")
	err := errors.Join(os.Mkdir(src, 0o755), os.WriteFile(sparse, []byte("data"), 0o644), os.Truncate(sparse, hole),
		os.WriteFile(program, nil, 0o600), os.Chmod(program, 0o755|os.ModeSetuid|os.ModeSetgid),
		os.Chtimes(program, then, then))
	if err != nil {
		t.Fatal(err)
	}
	w := testWorld()
	made := w.Stat
	w.Stat = func(name string) (os.FileInfo, error) {
		if strings.HasPrefix(name, dir) {
			return os.Stat(name)
		}
		return made(name)
	}
	spec, err := NewSpec(options(func(o *Options) {
		o.Actions = []Action{{Phase: hooks.PhaseCustomize, Kind: ActionCopy, Text: src + ":/opt"},
			{Phase: hooks.PhaseCustomize, Kind: ActionCopy, Text: program + ":/usr/bin/p"}}
	}), w)
	if err != nil {
		t.Fatal(err)
	}
	take := func(n int) (l Lock) {
		t.Helper()
		if err := l.Take(t.Context(), spec, filepath.Join(dir, fmt.Sprintf("inputs%d", n)), nil); err != nil {
			t.Fatal(err)
		}
		return l
	}
	lock := take(0)
	f := targettest.New(t, map[string]string{"/usr/bin/x": ""})
	for _, s := range []step.Copy{{Copy: lock.Copy(src), Destination: "/opt"},
		{Copy: lock.Copy(program), Destination: "/usr/bin/p"}} {
		if err := runStep(t, f, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/opt/program", "/usr/bin/p"} {
		info, err := f.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := 0o755 | os.ModeSetuid | os.ModeSetgid; info.Mode() != want || !info.ModTime().Equal(then) {
			t.Errorf("%s: got %v of %v, want %v of %v", name, info.Mode(), info.ModTime(), want, then)
		}
	}
	for _, name := range []string{filepath.Join(lock.Copy(src), "sparse"), f.Path("/opt/sparse")} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil || st.Size != hole || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: %d bytes, %d on the disk (%v)", name, st.Size, st.Blocks*512, err)
		}
	}
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	other := take(1)
	if other.Actions[0] == lock.Actions[0] || other.Actions[1] == lock.Actions[1] {
		t.Error("another mode is no other digest")
	}
	if err := os.Chtimes(program, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if again := take(2); !slices.Equal(other.Actions, again.Actions) {
		t.Errorf("another time: got %v, want %v", again.Actions, other.Actions)
	}
}

func TestCommandRunsInTheTargetWithTheCallersVariables(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
	f.On = func([]string, io.Writer) error {
		if f.Readable(step.PolicyFile) == "(absent)" {
			t.Error("daemons may start")
		}
		return nil
	}
	if err := runStep(t, f, step.Command{Command: secret.New("echo $A")}); err != nil {
		t.Fatal(err)
	}
	// The text is on standard input: everybody on the host can read the arguments of a process.
	if want := []string{"sh -c " + step.CommandScript}; !slices.Equal(f.Transcript, want) ||
		!slices.Equal(f.Stdin, []string{"echo $A"}) {
		t.Errorf("ran %q with %q, want %q", f.Transcript, f.Stdin, want)
	}
	if got := f.Readable(step.PolicyFile); got != "(absent)" {
		t.Errorf("policy-rc.d is left behind: %q", got)
	}
}

// A hook's output was in the log only, even with --verbose. After a failure it was, and what was shown already is not
// shown again.
func TestHookOutputIsShownOnce(t *testing.T) {
	t.Parallel()
	failure := errors.New("exit status 1")
	for _, tt := range []struct {
		step                step.Step
		shown               io.Writer
		wantShown, wantTail string
	}{
		{step.Command{Command: secret.New("echo")}, new(bytes.Buffer), "one\n", "two"},
		{step.Hook{Script: "/hooks/x"}, new(bytes.Buffer), "one\n", "two"},
		{step.Command{Command: secret.New("echo")}, nil, "", "one\ntwo"},
		{step.AptInstall{Packages: []string{"hello"}}, new(bytes.Buffer), "", "one\ntwo"},
	} {
		f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
		f.On = func(_ []string, out io.Writer) error {
			_, err := io.WriteString(out, "one\ntwo")
			return errors.Join(failure, err)
		}
		s := &step.Context{Target: f, FreshToolbox: targettest.Always(f), Tmp: t.TempDir(), Archives: t.TempDir(),
			Out: step.NewTail(nil), HookOutput: tt.shown, Log: slog.New(slog.DiscardHandler)}
		err := (&Executor{}).runStep(t.Context(), tt.step, s)
		var failed *StepError
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v, want the failure of a step", tt.step.Kind(), err)
			continue
		}
		shown := ""
		if b, ok := tt.shown.(*bytes.Buffer); ok {
			shown = b.String()
		}
		if shown != tt.wantShown || failed.Output != tt.wantTail {
			t.Errorf("%s: shown %q, and %q after the failure", tt.step.Kind(), shown, failed.Output)
		}
	}
}

// TestScriptsOfWindowsAreFoundBeforeTheBuild: the kernel says of such a script that it does not exist.
func TestScriptsOfWindowsAreFoundBeforeTheBuild(t *testing.T) {
	t.Parallel()
	w := testWorld()
	w.ReadFile = func(string) ([]byte, error) { return []byte("#!/bin/sh\r\n"), nil }
	for _, a := range []Action{Script("hook.sh"), {Phase: hooks.PhaseImage, Text: "hook.sh"}} {
		_, err := a.resolve(w)
		if err == nil || !strings.Contains(err.Error(), "Windows") {
			t.Errorf("%s: got %v", a.Flag(), err)
		}
	}
}
