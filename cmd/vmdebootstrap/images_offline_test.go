// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// TestImagesShareTheirSteps builds three images at the same time, which write their outputs to the directory that the
// hooks of the others see.
func TestImagesShareTheirSteps(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	for name, text := range map[string]string{
		"images.yaml": `
run: [echo all >/etc/all]
images:
  a: {tarball: a.tar, run: echo a >/etc/one, customize: hook.sh}
  b: {tarball: b.tar, run: echo b >/etc/one, customize: hook.sh}
  c: {tarball: c.tar, run: echo c >/etc/one, customize: hook.sh}
  d: {tarball: d.tar, run: false}
`,
		"hook.sh": "#!/bin/sh\ncat \"$1/etc/one\" >\"$1/etc/hooked\"\n",
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	state := o.machine()
	// ran returns how often steps with a title ran in a build of all images, and its results.
	ran := func() (times map[string]int, results []progress.Result, out string) {
		cmd := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password", "--progress=json", "--jobs=4",
			"--no-verbose", "--no-explain-cache")
		// The tarball of o.command is that of a single build.
		var args []string
		for _, arg := range cmd.Args[1:] {
			if !strings.HasPrefix(arg, "--tarball=") {
				args = append(args, arg)
			}
		}
		cmd.Args = append([]string{programName, "build", "images.yaml"}, args...)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed {
			t.Fatalf("%v, want status %d\n%s%s", err, exitFailed, stdout.String(), stderr.String())
		}
		times = map[string]int{}
		for line := range strings.Lines(stderr.String()) {
			var e progress.Event
			if json.Unmarshal([]byte(line), &e) != nil {
				continue
			}
			if e.Kind == progress.Begin && !e.Cached {
				times[e.Title]++
			}
			if e.Result != nil && e.Result.Error == "" {
				results = append(results, *e.Result)
			}
		}
		return times, results, stdout.String() + stderr.String()
	}
	times, results, out := ran()
	for _, title := range []string{"make the toolbox", "run command 1 of --run"} {
		if times[title] != 1 {
			t.Errorf("%q ran %d times\n%s", title, times[title], out)
		}
	}
	if len(results) != 3 || !strings.Contains(out, "d: ERROR: ") || !strings.Contains(out, "3 of 4 images built") {
		t.Errorf("got %d results\n%s", len(results), out)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Rename(filepath.Join(o.dir, name+".tar"), filepath.Join(o.dir, "out.tar")); err != nil {
			t.Fatal(err)
		}
		if files := o.files(); files["etc/hooked"] != name+"\n" || files["etc/all"] != "all\n" {
			t.Errorf("%s: got %q and %q", name, files["etc/hooked"], files["etc/all"])
		}
		if err := os.Remove(filepath.Join(o.dir, "out.tar")); err != nil {
			t.Fatal(err)
		}
	}
	// The hooks have seen nothing of the other images, so all results are used again.
	times, _, out = ran()
	for title, n := range times {
		if strings.Contains(title, "hook.sh") || strings.HasPrefix(title, "run command 1") {
			t.Errorf("%q ran %d times again\n%s", title, n, out)
		}
	}
}
