// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// Issue 12: whatever the content of a file in the store, the verbs work, and clear leaves nothing.
func TestCacheVerbsWorkOnADamagedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(status int, verb string, want ...string) {
		t.Helper()
		out, err := vmdebootstrap(t, "cache", verb, "--state-dir", dir).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got := 0
		if exit != nil {
			got = exit.ExitCode()
		}
		if got != status {
			t.Errorf("cache %s: status %d, want %d\n%s", verb, got, status, out)
		}
		for _, text := range want {
			if !strings.Contains(string(out), text) {
				t.Errorf("cache %s does not say %q:\n%s", verb, text, out)
			}
		}
	}
	damage := func() {
		t.Helper()
		found := 0
		err := filepath.WalkDir(filepath.Join(dir, "store"), func(name string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(d.Name(), "-images") {
				found++
				return os.WriteFile(filepath.Join(name, "images.json"), []byte("[{"), 0o600)
			}
			return err
		})
		if err != nil || found == 0 {
			t.Fatalf("%d stores found (%v)", found, err)
		}
	}
	run(0, "verify", "0 cached results")
	damage()
	run(1, "verify", "the store of cached results was damaged", "ERROR: the cache was damaged")
	run(0, "verify", "0 cached results")
	damage()
	run(0, "list", "WARNING: the store of cached results was damaged", "0 downloaded packages")
	damage()
	run(0, "clear")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
	run(0, "clear")
}

// Issue 17: the IDs of `cache list` are those of `cache remove`, and `cache clear` leaves nothing.
func TestCachedResultsAreRemovedByID(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	must(t, os.WriteFile(filepath.Join(o.dir, "hook"), []byte("#!/bin/sh\necho made >\"$1/etc/made\"\n"), 0o755))
	build := func() string { return o.build(state, "--customize=./hook") }
	cache := func(args ...string) (string, error) {
		out, err := vmdebootstrap(t, append([]string{"cache", "--state-dir", state}, args...)...).CombinedOutput()
		return string(out), err
	}
	list := func() (c cacheContent) {
		t.Helper()
		out, err := cache("list", "--json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &c)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return c
	}
	build()
	before := list()
	var hook string
	for _, r := range before.Results {
		if strings.HasPrefix(r.Title, "customize with ") {
			hook = r.ID
		}
		if r.Made.IsZero() || r.Used.IsZero() {
			t.Errorf("incomplete: %+v", r)
		}
	}
	if len(before.Results) != 4 || len(hook) != 64 || before.Downloads.Files == 0 || before.Downloads.Bytes == 0 {
		t.Fatalf("want a toolbox and three steps, got %+v", before)
	}
	if out, err := cache("list"); err != nil || !strings.Contains(out, "\n"+hook[:shortID]+"  ") {
		t.Errorf("the table has no ID %s (%v):\n%s", hook[:shortID], err, out)
	}
	for _, wrong := range []string{"nosuch", ""} {
		if out, err := cache("remove", hook, wrong); err == nil || !strings.Contains(out, "no cached result has the ID") {
			t.Errorf("remove %q: %v\n%s", wrong, err, out)
		}
	}
	if got := len(list().Results); got != 4 {
		t.Errorf("%d results are left after a mistake, want 4", got)
	}
	if out, err := cache("remove", hook[:shortID]); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got := len(list().Results); got != 3 {
		t.Errorf("%d results are left, want 3", got)
	}
	if said := build(); !strings.Contains(said, "run: customize with ") {
		t.Errorf("the removed result was used:\n%s", said)
	}
	if out, err := cache("clear"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("clear leaves %v (%v)", left, err)
	}
}

// Issue 17, 1: the verbs were silent, for as long as they took.
func TestCacheVerbsReportProgress(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	o.build(state)
	cache := func(args ...string) (stdout, stderr string) {
		t.Helper()
		var out, err bytes.Buffer
		cmd := vmdebootstrap(t, append([]string{"cache", "--state-dir", state, "--progress=json"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &err
		_ = cmd.Run() // the summary says it
		return out.String(), err.String()
	}
	counts := func(stderr, activity string) bool {
		return slices.ContainsFunc(jsonEvents(t, stderr), func(e progress.Event) bool {
			return e.Kind == progress.Advance && e.Activity == activity && e.Unit == progress.Results && e.Total > 0 &&
				e.Step == 1 && e.Steps == 1
		})
	}
	stdout, stderr := cache("verify")
	if r := summary(t, stderr).Result; r.Error != "" || !counts(stderr, "verify") ||
		stdout != "3 cached results are intact\n" {
		t.Errorf("verify: %+v, %q\n%s", r, stdout, stderr)
	}
	if _, stderr = cache("remove", "nosuch"); !strings.Contains(summary(t, stderr).Result.Error, "nosuch") {
		t.Errorf("remove of a result that is not there:\n%s", stderr)
	}
	if _, stderr = cache("prune", "--limit=1"); summary(t, stderr).Result.Error != "" || !counts(stderr, "remove") {
		t.Errorf("prune:\n%s", stderr)
	}
	for _, verb := range []string{"list", "clear"} {
		if _, stderr = cache(verb); summary(t, stderr).Result.Error != "" {
			t.Errorf("%s:\n%s", verb, stderr)
		}
	}

	// On a terminal the block is erased, and the output stands where it was.
	terminal, stdout, _, err := onTerminal(t, vmdebootstrap(t, "cache", "verify", "--state-dir", state), nil)
	if err != nil || !strings.Contains(terminal, "[1/1] verify cached results") || belowBlock(terminal) != "" ||
		stdout != "0 cached results are intact\n" {
		t.Errorf("%v, %q, %q", err, terminal, stdout)
	}
}

// Issue 15: a build that needs what another one is making waits for that, and makes nothing again.
func TestBuildsAtOnceMakeEachResultOnce(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	const builds = 4
	outputs := make([]string, builds)
	var wg sync.WaitGroup
	for i := range builds {
		wg.Go(func() {
			out, err := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password", "--run=echo 1 >>/etc/made",
				"--run=sleep 1; echo 2 >>/etc/made", fmt.Sprintf("--tarball=%d.tar", i)).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			outputs[i] = string(out)
		})
	}
	wg.Wait()
	for _, progress := range []string{
		"\nmake the toolbox of ", "\nbootstrap trixie ", "\nrun command 1 of ", "\nrun command 2 of ",
	} {
		if got := strings.Count(strings.Join(outputs, ""), progress); got != 1 {
			t.Errorf("%q happened %d times in %d builds:\n%s", progress, got, builds, strings.Join(outputs, "\n--\n"))
		}
	}
}
