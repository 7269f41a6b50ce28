// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// envFullDir names a directory on a full file system for TestFullFilesystemIsNamed, in a mount namespace of its own.
const envFullDir = "VMDEBOOTSTRAP_TEST_FULL"

// Issue 15, 3: a full disk was "Couldn't download" or "tar failed".
func TestFullFilesystemIsNamed(t *testing.T) {
	dir := os.Getenv(envFullDir)
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		// A file system of 64 KiB is full from the start.
		dir = t.TempDir()
		cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
			`mount -t tmpfs -o size=64k none "$1" && exec "$2" -test.run '^TestFullFilesystemIsNamed$' -test.v`, "sh",
			dir, self)
		cmd.Env = append(os.Environ(), envFullDir+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	o := builder.DefaultOptions()
	o.Tarball, o.NoKernel, o.Arch, o.Distribution = filepath.Join(t.TempDir(), "x.tar"), true, "amd64", "trixie"
	spec, err := builder.NewSpec(o, builder.World{Stat: os.Stat, Dir: t.TempDir(), HostArch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	free, err := freeSpace(filepath.Join(dir, "not", "yet"))
	other, otherErr := freeSpace(t.TempDir())
	if err != nil || otherErr != nil || free.Bytes > 64*diskimage.KiB || free.Inodes > 1<<32 ||
		free.Device == other.Device {
		t.Errorf("got %+v (%v), elsewhere %+v (%v)", free, err, other, otherErr)
	}
	failure := errors.New("tar: exit status 2")
	j := &job{spec: spec, settings: newSettings("amd64")}
	j.settings.stateDir = filepath.Join(dir, "not", "yet")
	got := j.lookForSpace(failure)
	if hint := hintFor(got); !errors.Is(got, failure) || !strings.Contains(hint, "of "+dir) ||
		!strings.Contains(hint, "--state-dir") {
		t.Errorf("got %v, %q", got, hint)
	}
	var known *fullError
	if again := j.lookForSpace(got); !errors.As(again, &known) || errors.As(known.error, &known) {
		t.Errorf("what is known is found again: %#v", again)
	}
	j.settings.stateDir = t.TempDir()
	if got := j.lookForSpace(failure); hintFor(got) != "" || !errors.Is(got, failure) {
		t.Errorf("with room: got %#v", got)
	}
	if got := j.lookForSpace(nil); got != nil {
		t.Errorf("without a failure: got %v", got)
	}
}
