// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// imagesCommand returns a build of the images of a file.
func (o *offline) imagesCommand(state, file string, args ...string) *exec.Cmd {
	o.t.Helper()
	cmd := o.command(state, append([]string{"--mirror=" + o.repo.URL(), "--lock-root-password", "--no-verbose",
		"--no-explain-cache"}, args...)...)
	ofOne := func(arg string) bool { return strings.HasPrefix(arg, "--tarball=") }
	cmd.Args = append([]string{programName, "build", file}, slices.DeleteFunc(cmd.Args[1:], ofOne)...)
	return cmd
}

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
		cmd := o.imagesCommand(state, "images.yaml", "--progress=json", "--jobs=4")
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

// Issue 18, 9 and 10: what describes a build is written for each image of a file, and its lock holds for this image.
func TestEachImageHasItsOwnDescriptions(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	text := "customize: ." + o.installs() + "\nimages:\n" // a lock without packages is none
	for _, name := range []string{"a", "b"} {
		text += strings.ReplaceAll(`
  NAME: {tarball: NAME.tar, run: echo NAME >/etc/one, manifest: NAME.json, sbom: [spdx:NAME.spdx, cyclonedx:NAME.cdx],
    lock-file: NAME.lock, provenance: NAME.statement, report: NAME.html}
`, "NAME", name)
	}
	dir := filepath.Join(o.dir, "sub")
	file := filepath.Join(dir, "images.yaml")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	state := o.machine()
	build := func() (tarballs [][]byte) {
		t.Helper()
		if out, err := o.imagesCommand(state, "sub/images.yaml").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, name := range []string{"a.tar", "b.tar"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			tarballs = append(tarballs, data)
		}
		return tarballs
	}
	first := build()
	seeds := map[string]string{}
	for _, name := range []string{"a", "b"} {
		at := filepath.Join(dir, name)
		m, _ := o.readManifest("sub/" + name + ".json")
		one := func(f manifest.File) bool { return f.Name == "/etc/one" && f.SHA256 == sha256Text([]byte(name+"\n")) }
		if !slices.ContainsFunc(m.Unowned, one) {
			t.Errorf("%s: got the manifest %+v", name, m)
		}
		page, err := htmlreport.ReadFile(at + ".html")
		if err != nil {
			t.Fatal(err)
		}
		ran := func(s progress.Step) bool { return strings.Contains(s.Title, "--run") }
		if page.Change != nil || !strings.HasSuffix(page.Build.Files[0].Name, "sub/"+name+".tar") ||
			!slices.ContainsFunc(page.Build.Steps, ran) {
			t.Errorf("%s: got the page %+v of %+v", name, page, page.Build)
		}
		statement, err := os.Open(at + ".statement")
		if err != nil {
			t.Fatal(err)
		}
		defer statement.Close()
		files, _, err := builder.VerifyProvenance(t.Context(), statement, nil, dir)
		want := []string{name + ".tar", name + ".json", name + ".spdx", name + ".cdx", name + ".lock", name + ".html"}
		slices.Sort(want)
		if slices.Sort(files); err != nil || !slices.Equal(files, want) {
			t.Errorf("%s: got a statement about %q, want %q; %v", name, files, want, err)
		}
		lock, err := os.Open(at + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		locked, err := lockfile.Read(lock)
		if err != nil {
			t.Fatal(err)
		}
		seeds[locked.Seed.String()] = name
	}
	if len(seeds) != 2 {
		t.Errorf("got the seeds %q", seeds)
	}
	for i, data := range build() {
		if !bytes.Equal(data, first[i]) {
			t.Errorf("tarball %d is not the one of its lock", i+1)
		}
	}
	if page, err := htmlreport.ReadFile(filepath.Join(dir, "a.html")); err != nil || page.Change == nil {
		t.Errorf("got %+v, %v: no change since the build before", page, err)
	}
	// A lock that is there already may be that of several images.
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "b.lock", "a.lock")), 0o644); err != nil {
		t.Fatal(err)
	}
	build()
}
