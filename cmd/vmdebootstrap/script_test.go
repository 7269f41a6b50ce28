package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// TestMain lets the test binary be the program as well: under its name, and under those of the program's own helpers,
// which are the same file started again and which testscript does not know.
func TestMain(m *testing.M) {
	if oci.Init() {
		return
	}
	testscript.Main(m, map[string]func(){programName: main})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:               ownPlaces,
	})
}

// ownPlaces gives each script its own home and runtime directories.
func ownPlaces(env *testscript.Env) error {
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
