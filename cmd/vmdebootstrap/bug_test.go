// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// Issue 12, B12: a panic must be reported in one sentence.
func TestAPanicIsOneSentence(t *testing.T) {
	t.Parallel()
	for value, want := range map[any]string{
		"BUG: no release of today": "BUG: no release of today (please report it at ",
		"line one\nline two":       "BUG: line one line two (please report it at ",
	} {
		cleaned := false
		root := &cobra.Command{SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
			defer func() { cleaned = true }()
			panic(value)
		}}
		root.SetArgs([]string{})
		called, err := execute(t.Context(), root)
		var stderr bytes.Buffer
		if status := report(t.Context(), &stderr, called, err); status != exitFailed {
			t.Errorf("%v: the status is %d, want %d", value, status, exitFailed)
		}
		text := stderr.String()
		if !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 1 || !strings.Contains(text, "--log") {
			t.Errorf("%v: got %q, want one line that begins with %q", value, text, want)
		}
		if !cleaned {
			t.Errorf("%v: what the command deferred did not run", value)
		}
	}
}

// Issue 15, 4: a build whose process was killed, by the kernel for want of memory, ended with status 137 and no word.
func TestAKilledBuildSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for status, want := range map[int]string{
		137: "ERROR: the process that built was killed by signal 9 (killed)\nHINT: ", exitInterrupted: "", exitStep: "",
	} {
		env := environment{dir: dir, etc: dir, arch: "amd64", now: time.Now, stat: os.Stat, readFile: os.ReadFile}
		env.reenter = func(context.Context, reentry) (int, error) { return status, nil }
		var stdout, stderr bytes.Buffer
		got := run(t.Context(), []string{"--tarball", filepath.Join(dir, "o.tar"), "--no-kernel"}, &stdout, &stderr, env)
		if got != status || !strings.HasPrefix(stderr.String(), want) || want == "" && stderr.Len() > 0 {
			t.Errorf("got status %d and %q, want %d and %q", got, stderr.String(), status, want)
		}
	}
}

func TestAPanicOfABuildIsInTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	env := environment{dir: dir, etc: dir, arch: "amd64", now: time.Now, stat: os.Stat, readFile: os.ReadFile}
	env.reenter = func(context.Context, reentry) (int, error) { panic("BUG: the second run is not there") }
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"--log", log, "--tarball", filepath.Join(dir, "o.tar"), "--no-kernel"}, &stdout,
		&stderr, env)
	if status != exitFailed || !strings.HasPrefix(stderr.String(), "BUG: the second run is not there (") {
		t.Errorf("got status %d and %q", status, stderr.String())
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CRITICAL panic: BUG: the second run is not there", "bug_test.go"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log has no %q:\n%s", want, text)
		}
	}
}
