// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
)

// A starting process briefly has all files of the engine open, and a program that is open for
// writing cannot be executed. Not parallel: other tests start processes, too.
func TestRunWaitsForStartingProcesses(t *testing.T) {
	c := scratch(t, openEngine(t))
	if err := c.WriteFile("/bin/script", []byte("#!/bin/program cat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(c.Root(), "bin/script"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess("")
	p.Args = []string{"/bin/script"}
	run.Starting.RLock() // like a starting process that has the file open
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context(), p, nil, nil, nil) }()
	for run.Starting.TryRLock() { // until Run waits
		run.Starting.RUnlock()
		select {
		case err := <-done:
			t.Fatal(err)
		default:
			runtime.Gosched()
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	run.Starting.RUnlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Mount points created in a target stay there (issue 12, A6). Not parallel: the umask belongs to
// the process.
func TestMountPointsIgnoreTheUmask(t *testing.T) {
	e := openEngine(t)
	tools, target := scratch(t, e), scratch(t, e)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	if err := tools.Run(t.Context(), newProcess("exit", "0"), target.MountAt("/target"), nil, nil); err != nil {
		t.Fatal(err)
	}
	info, err := target.Lstat("/dev")
	if err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("/dev of the target is %v (%v), want 0755", info, err)
	}
}
