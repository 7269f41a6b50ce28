// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmdebootstrap/vmdebootstrap/oci"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// daysAhead names the variable that sets the clock of the program that many days ahead.
const daysAhead = "VMDEBOOTSTRAP_TEST_DAYS_AHEAD"

// TestMain makes the test binary also the program, under its name, those of its stand-ins, and those of the program's
// helpers, which are the same file started again. Testscript knows the first only: it puts a program into the PATH of
// all tests, where the stand-ins would hide the real ones.
func TestMain(m *testing.M) {
	if standIn, ok := standIns[filepath.Base(os.Args[0])]; ok {
		standIn()
		return
	}
	host, helper := oci.Init()
	if helper || ocitest.Init() {
		return
	}
	if days, err := strconv.Atoi(os.Getenv(daysAhead)); err == nil {
		clock = func() time.Time { return time.Now().AddDate(0, 0, days) }
	}
	testscript.Main(m, map[string]func(){programName: func() { begin(host) }})
}

// vmdebootstrap returns a command that runs the program, which is the test binary under another name.
func vmdebootstrap(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = programName
	return cmd
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:               ownDirectories,
	})
}

// ownDirectories gives each script its own home and runtime directories.
func ownDirectories(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	runtime := filepath.Join(env.WorkDir, ".run")
	for _, dir := range []string{home, runtime} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	env.Setenv("HOME", home)
	env.Setenv("XDG_RUNTIME_DIR", runtime)
	env.Setenv("XDG_DATA_HOME", filepath.Join(home, ".local", "share"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	return nil
}
