// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// runStep runs one step on a target and the toolbox of a test.
func runStep(t *testing.T, f *targettest.Target, s step.Step) error {
	t.Helper()
	return s.Run(t.Context(), &step.Context{
		Target: f, Toolbox: targettest.New(t, nil), FreshToolbox: targettest.Always(targettest.New(t, nil)),
		Archives: t.TempDir(), Tmp: t.TempDir(),
		Resolver: []byte("nameserver 192.0.2.1\n"), Dir: "/home/alice", Log: slog.New(slog.DiscardHandler),
		Out: step.NewTail(nil),
	})
}

// failingStep leaves a file and fails.
type failingStep struct{ step.Hostname }

func (failingStep) Run(_ context.Context, s *step.Context) error {
	return errors.Join(s.Target.WriteFile("/left", []byte("x"), 0o644), errors.New("no luck"))
}

// A full disk was no longer full when it was looked for: the files of the failed step had been removed.
func TestFailedStepIsLookedAtWhileItsFilesAreThere(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	full := errors.New("the disk is full")
	x := Executor{StepFailed: func(failed error) error {
		_, err := f.ReadFile("/left")
		return errors.Join(failed, err, full)
	}}
	err := x.runStep(t.Context(), failingStep{}, &step.Context{Target: f, Out: step.NewTail(nil)})
	var failed *step.Error
	if !errors.Is(err, full) || !errors.As(err, &failed) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Issue 17, 4: a shell in the failed step.
func TestDebugShellSeesWhatAFailedStepLeft(t *testing.T) {
	t.Parallel()
	var shown []string
	x := Executor{DebugShell: func(_ context.Context, left Target, failed error) error {
		data, err := left.ReadFile("/left")
		shown = append(shown, string(data)+" "+failed.Error())
		return errors.Join(err, errors.New("the shell failed too"))
	}}
	f := targettest.New(t, nil)
	s := &step.Context{Target: f, Out: step.NewTail(nil)}
	err := x.runStep(t.Context(), failingStep{}, s)
	var failed *step.Error
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "the shell failed too") || len(shown) != 1 ||
		!strings.HasPrefix(shown[0], "x ") || !strings.Contains(shown[0], "no luck") {
		t.Errorf("shown %q, error %v", shown, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.runStep(cancelled, failingStep{}, s); err == nil || len(shown) != 1 {
		t.Errorf("an interrupted build shows a shell: %q, %v", shown, err)
	}
}
