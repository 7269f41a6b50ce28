// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// hasPackage reports whether an image has a package of this name.
func hasPackage(r inspect.Report, name string) bool {
	return slices.ContainsFunc(r.System.Packages, func(p inspect.Package) bool { return p.Name == name })
}

// Issue 18, 10: the page of a build has its disk, packages and steps, and says what has changed since the last one.
// Names from a hook are text.
func TestReportOfABuildComparesWithTheLastOne(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state, page := o.machine(), filepath.Join(o.dir, "out.html")
	disk := []string{"--tarball=", "--image=out.img", "--size=auto", "--free=7M", "--no-extlinux", "--no-mbr",
		"--report=out.html"}
	if err := os.WriteFile(page, []byte("notes of mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := o.build(state, disk...)
	if !strings.Contains(text, "--report: nothing to compare with: ") || !strings.Contains(text, "wrote out.html: ") {
		t.Errorf("got %s", text)
	}
	first, err := htmlreport.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	d := first.Image.Disk
	if first.Change != nil || d == nil || len(d.Partitions) != 1 || d.Partitions[0].Filesystem.Free < 7e6 ||
		first.Image.System == nil || first.Directories.Size == 0 || len(first.Build.Files) != 1 ||
		first.Build.Files[0].Name != "out.img" {
		t.Errorf("got %+v, %+v", first, d)
	}
	var cpu float64
	for _, s := range first.Build.Steps {
		cpu += s.CPUSeconds
	}
	if cpu == 0 {
		t.Errorf("no processor time: got %+v", first.Build.Steps)
	}

	const hostile = "<img src=x onerror=alert(1)>"
	const script = `#!/bin/sh
set -e
printf '\nPackage: less\nStatus: install ok installed\nVersion: 1</td><script>\n' >>$1/var/lib/dpkg/status
printf 'Architecture: amd64\n' >>$1/var/lib/dpkg/status
dd if=/dev/zero of="$1/` + hostile + `" bs=300000 count=1
`
	if err := os.WriteFile(filepath.Join(o.dir, "hook.sh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	o.build(state, append(disk, "--customize=./hook.sh")...)
	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	second, err := htmlreport.Read(bytes.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	if c := second.Change; c == nil || len(c.Difference.Packages.Added) != 1 || hasPackage(c.From, "less") ||
		!hasPackage(second.Image, "less") || c.FromBuild == nil || !c.FromBuild.Began.Equal(first.Build.Began) {
		t.Errorf("got the change %+v", c)
	}
	cached := func(s progress.Step) bool { return s.Cached && strings.HasPrefix(s.Title, "bootstrap ") }
	if !slices.ContainsFunc(second.Build.Steps, cached) {
		t.Errorf("got the steps %+v", second.Build.Steps)
	}
	for _, want := range []string{"&lt;img src=x", "Since the last build", "1&lt;/td&gt;&lt;script&gt;"} {
		if !bytes.Contains(written, []byte(want)) {
			t.Errorf("the page has no %q", want)
		}
	}
	if bytes.Contains(written, []byte(hostile)) || bytes.Contains(written, []byte("</td><script>")) {
		t.Error("a name is HTML")
	}

	if text, err := o.try(state, append(disk, "--customize=./hook.sh", "--run=false")...); err == nil {
		t.Errorf("got %s", text)
	}
	if after, err := os.ReadFile(page); err != nil || !bytes.Equal(after, written) {
		t.Errorf("a build that failed has changed the page: %v", err)
	}
}
