// SPDX-License-Identifier: Apache-2.0

package hooks_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// statIn looks names up in files, whose names are absolute but for the leading slash.
func statIn(files fstest.MapFS) func(string) (fs.FileInfo, error) {
	return func(name string) (fs.FileInfo, error) { return files.Stat(strings.TrimPrefix(name, "/")) }
}

var files = fstest.MapFS{
	"home/joe/mine.sh":   {Mode: 0o755},
	"home/joe/plain.txt": {Mode: 0o644},
	"home/joe/both.sh":   {Mode: 0o700},
	"home/joe/dir":       {Mode: fs.ModeDir | 0o755},
	filepath.Join(hooks.ExamplesDir, "both.sh")[1:]:    {Mode: 0o755},
	filepath.Join(hooks.ExamplesDir, "example.sh")[1:]: {Mode: 0o755},
	filepath.Join(hooks.ExamplesDir, "plain.txt")[1:]:  {Mode: 0o755},
}

func TestFindLooksHereAndThenAmongTheExamples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"mine.sh":           "/home/joe/mine.sh",
		"./mine.sh":         "/home/joe/mine.sh",
		"/home/joe/mine.sh": "/home/joe/mine.sh",
		"both.sh":           "/home/joe/both.sh",
		"example.sh":        hooks.ExamplesDir + "/example.sh",
	} {
		got, err := hooks.Find(name, "/home/joe", statIn(files))
		if err != nil || got != want {
			t.Errorf("Find(%q): got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestFindRejectsWhatCannotRun(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain.txt": "not executable",
		"dir":       "not a regular file",
		"none.sh":   "here and in /usr/share/vmdebootstrap/examples: file does not exist",
		"":          "without a name",
	} {
		_, err := hooks.Find(name, "/home/joe", statIn(files))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%q): got %v, want an error with %q", name, err, want)
		}
	}
}

func TestFindSaysWhenThereIsNoHook(t *testing.T) {
	t.Parallel()
	if _, err := hooks.Find("none.sh", "/", statIn(files)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want it to wrap fs.ErrNotExist", err)
	}
}

func TestFindPassesOnWhatStatSays(t *testing.T) {
	t.Parallel()
	stat := func(string) (fs.FileInfo, error) { return nil, fs.ErrPermission }
	if _, err := hooks.Find("a.sh", "/", stat); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want it to wrap fs.ErrPermission", err)
	}
}

func TestCheckRejectsLinesOfWindows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"#!/bin/sh\r\ntrue\r\n":        `begins with "#!/bin/sh\r": its lines end as on Windows`,
		"#!/usr/bin/env python3\r\n":   `env python3\r`,
		"#!/bin/sh\nprintf 'a\r\n'\n":  "",
		"\x7fELF\x02\r\n#!/bin/sh\r\n": "",
		"":                             "",
	} {
		err := hooks.Check("/hooks/x", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
