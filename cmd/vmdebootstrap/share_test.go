// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// TestCacheIsSharedThroughARegistry pushes the snapshots of one machine to a registry; another one, with an
// empty store, reuses them. It takes about 30 seconds if another test has bootstrapped the same release
// before.
func TestCacheIsSharedThroughARegistry(t *testing.T) {
	location := "docker://" + ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), false) + "/cache"
	dir, empty := t.TempDir(), t.TempDir()
	t.Cleanup(func() { // its files belong to subordinate IDs
		cmd := vmdebootstrap(t, "cache", "clear", "--state-dir", empty)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	for _, d := range []string{"here", "there"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		hook := "#!/bin/sh\nset -e\ncp data \"$1/srv/data\"\nchown 1:42 \"$1/srv/data\"\nchmod 4750 \"$1/srv/data\"\nrm \"$1/etc/debian_version\"\nln \"$1/etc/issue\" \"$1/srv/issue\"\n"
		for name, text := range map[string]string{"hook.sh": hook, "data": "data"} {
			if err := os.WriteFile(filepath.Join(dir, d, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	build := func(where string, args ...string) string {
		t.Helper()
		cmd := vmdebootstrap(t, append([]string{
			"--tarball=root.tar.gz", "--no-kernel", "--debootstrapopts=variant=minbase", "--customize=./hook.sh",
			"--explain-cache", "--verbose", "--lock-root-password", "--no-tls-verify", "--pockets=none",
		}, args...)...)
		cmd.Dir = filepath.Join(dir, where)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	build("here", "--cache-to="+location)
	text := build("there", "--cache-from="+location, "--state-dir="+empty)
	if strings.Contains(text, "run: ") || strings.Count(text, ", in "+location) != 3 {
		t.Errorf("the other machine did not reuse all of it:\n%s", text)
	}
	here, there := records(t, filepath.Join(dir, "here/root.tar.gz")),
		records(t, filepath.Join(dir, "there/root.tar.gz"))
	if !maps.Equal(here, there) {
		for name, want := range here {
			if got := there[name]; got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		t.Errorf("%d files, want %d", len(there), len(here))
	}
	if got := here["./srv/data"]; !strings.HasPrefix(got, "0 4750 1:42") {
		t.Errorf("/srv/data is %s", got)
	}

	// A file that the hook has used is an input on the other machine as well.
	if err := os.WriteFile(filepath.Join(dir, "there/data"), []byte("other"), 0o755); err != nil {
		t.Fatal(err)
	}
	text = build("there", "--cache-from="+location, "--state-dir="+empty, "--cache-to="+location)
	if !strings.Contains(text, "there/data has changed") {
		t.Errorf("the hook did not run again because of its file:\n%s", text)
	}
	text = build("there", "--state-dir="+empty, "--cache-from=docker://127.0.0.1:1/cache")
	if strings.Count(text, "WARNING: --cache-from docker://127.0.0.1:1/cache is not used") > 1 {
		t.Errorf("more than one warning:\n%s", text)
	}
	cmd := vmdebootstrap(t, "--tarball=root.tar", "--cache-to=docker://127.0.0.1:1/cache")
	cmd.Dir = filepath.Join(dir, "there")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "ERROR: --cache-to: ") {
		t.Errorf("a location that does not answer: %v\n%s", err, out)
	}
}

// records describes each member of a tar archive, except for its time, which depends on the build.
func records(t *testing.T, name string) map[string]string {
	t.Helper()
	headers, files := readTarball(t, name)
	all := map[string]string{}
	for name, h := range headers {
		all[name] = fmt.Sprintf("%c %o %d:%d %d %q %v %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Linkname,
			xattrs(h), files[strings.TrimPrefix(name, "./")])
	}
	return all
}

func xattrs(h *tar.Header) map[string]string {
	found := map[string]string{}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			found[key] = value
		}
	}
	return found
}
