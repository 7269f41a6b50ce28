// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// closer is a buffer that records whether it was closed.
type closer struct {
	bytes.Buffer
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

func TestSyslogGetsLinesWithoutTime(t *testing.T) {
	t.Parallel()
	var daemon closer
	env := environment{dialSyslog: func() (io.WriteCloser, error) { return &daemon, nil }}
	s := defaultLogSettings()
	s.destination = "syslog"
	log, c, err := openLog(s, io.Discard, env)
	if err != nil {
		t.Fatal(err)
	}
	log.Warn("disk is small", "size", 5)
	if err := c.Close(); err != nil || !daemon.closed {
		t.Errorf("close: %v, closed: %v", err, daemon.closed)
	}
	if got, want := daemon.String(), "WARNING disk is small size=5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMissingSyslogIsAnError(t *testing.T) {
	t.Parallel()
	cause := errors.New("no daemon")
	env := environment{dialSyslog: func() (io.WriteCloser, error) { return nil, cause }}
	s := defaultLogSettings()
	s.destination = "syslog"
	log, c, err := openLog(s, io.Discard, env)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "--log") {
		t.Errorf("got %v, want it to name --log and wrap %v", err, cause)
	}
	log.Info("to nowhere")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogLevelDropsLowerLevels(t *testing.T) {
	t.Parallel()
	all := []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
	for level, want := range map[string][]string{
		"debug": all, "info": all[1:], "warning": all[2:], "error": all[3:], "critical": all[4:], "fatal": all[4:],
	} {
		var stderr bytes.Buffer
		log, _, err := openLog(logSettings{destination: "stderr", level: level}, &stderr, environment{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError,
			levelCritical} {
			log.Log(t.Context(), l, "x")
		}
		var got []string
		for line := range strings.Lines(stderr.String()) {
			got = append(got, strings.Fields(line)[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", level, got, want)
		}
	}
}

func TestLogLineHoldsAttributesOfItsLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(newLineHandler(&out, slog.LevelInfo, "", false)).With("step", "apt").WithGroup("disk")
	log.Info("two words", "free", "1 GB", "msg", "kept")
	if got, want := out.String(), "INFO two words step=apt disk.free=\"1 GB\" disk.msg=kept\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogFileRotatesBeforeItIsTooLarge(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, []byte("12345678\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	file, err := openLogFile(logSettings{destination: name, max: 20, keep: 10, mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"1234567890\n", "x\n", "a line that is longer than the limit\n"} {
		if _, err := io.WriteString(file, line); err != nil {
			t.Fatal(err)
		}
		if line == "1234567890\n" {
			continue
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != line {
			t.Errorf("got %q, %v, want a new file with %q", data, err, line)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v, want that of the first file, 0640", info.Mode(), err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(name), "log*"))
	if err != nil || len(files) < 2 {
		t.Errorf("got %q, %v, want the old files beside the new one", files, err)
	}
}

// Issue 15: --log-keep 2 kept three files.
func TestLogKeepCountsThePresentFile(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 1, 2} {
		dir := t.TempDir()
		other := filepath.Join(dir, "x-2026-01-02.log")
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := openLogFile(logSettings{destination: filepath.Join(dir, "x.log"), max: 1, keep: keep, mode: 0o600})
		if err != nil {
			t.Fatal(err)
		}
		want := 1 + 4
		if keep > 0 {
			want = 1 + keep
		}
		for range 4 {
			if _, err := io.WriteString(file, "line\n"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond) // lumberjack names files by the millisecond
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != want || !slices.Contains(files, other) {
			t.Errorf("keep %d: %q are left (%v), want %d with %s", keep, files, err, want, other)
		}
	}
}
