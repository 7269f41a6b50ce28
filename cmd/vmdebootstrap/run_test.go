// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// namedStep is a step with a title; it cannot run.
type namedStep struct{ builder.Step }

func (namedStep) Title() string { return "install vim" }

func TestExitStatusDependsOnTheKindOfError(t *testing.T) {
	t.Parallel()
	running := t.Context()
	interrupted, cancel := context.WithCancel(running)
	cancel()
	failure := errors.New("disk full")
	for _, test := range []struct {
		name   string
		ctx    context.Context
		err    error
		status int
		stderr string
	}{
		{"success", running, nil, exitOK, ""},
		{"interrupted too late", interrupted, nil, exitOK, ""},
		{"failure", running, failure, exitFailed, "ERROR: disk full\n"},
		{"two failures", running, errors.Join(failure, errors.Join(failure)), exitFailed,
			"ERROR: disk full\nERROR: disk full\n"},
		{"usage", running, usageErrorf("no such option: %s", "-x"), exitUsage,
			"Usage: vmdebootstrap [options]\n\nvmdebootstrap: error: no such option: -x\n"},
		{"step", running, fmt.Errorf("build: %w", &builder.StepError{Step: namedStep{}, Output: "no such package",
			Err: failure}),
			exitStep, "no such package\nERROR: build: install vim: disk full\n"},
		{"interrupted", interrupted, fmt.Errorf("step: %w", context.Canceled), exitInterrupted, "ERROR: interrupted\n"},
	} {
		var stderr bytes.Buffer
		status := report(test.ctx, &stderr, new(cobra.Command), test.err)
		if status != test.status || stderr.String() != test.stderr {
			t.Errorf("%s: got status %d and %q, want %d and %q", test.name, status, stderr.String(), test.status,
				test.stderr)
		}
	}
}

func TestEveryJoinedMistakeGetsALine(t *testing.T) {
	t.Parallel()
	a, b := &builder.Problem{Flag: "--a", Err: errors.New("x")}, &builder.Problem{Flag: "--b", Err: errors.New("y")}
	var stderr bytes.Buffer
	report(t.Context(), &stderr, new(cobra.Command), errors.Join(a, errors.Join(b)))
	if got, want := stderr.String(), "ERROR: --a: x\nERROR: --b: y\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Issue 13: getenv took the last of two variables with one name, and secrets came from the first.
func TestFirstOfTwoVariablesCounts(t *testing.T) {
	t.Parallel()
	env := environment{environ: []string{"HOMES=/b", "HOME=/c=d", "HOME=/a", "EMPTY="}}
	if got := env.getenv("HOME"); got != "/c=d" {
		t.Errorf("getenv: got %q, want /c=d", got)
	}
	if got, err := env.secretSource().read("env:HOME"); err != nil || got != "/c=d" {
		t.Errorf("env:HOME: got %q (%v), want /c=d", got, err)
	}
	for name, want := range map[string]bool{"EMPTY": true, "NONE": false} {
		if value, found := env.lookupEnv(name); value != "" || found != want {
			t.Errorf("%s: got %q, found is %t, want %t", name, value, found, want)
		}
	}
}

// Issue 15: http_proxy=:::bad was ignored.
func TestInvalidProxiesAreErrors(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{
		"", "http://proxy:3128", "proxy:3128", "proxy", "http://joe:secret@[::1]:80/", "socks5://proxy",
	} {
		if err := (environment{environ: []string{"http_proxy=" + ok, "https_proxy=" + ok}}).checkProxies(); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{":::bad", "http://joe:secret@proxy:port"} {
		err := environment{environ: []string{"https_proxy=" + bad}}.checkProxies()
		if err == nil || !strings.Contains(err.Error(), "https_proxy") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
