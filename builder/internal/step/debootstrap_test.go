// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/pkgdetails"
)

// debootstrapToolbox is a toolbox with what the step reads in it.
func debootstrapToolbox(t *testing.T) *targettest.Target {
	return targettest.New(t, map[string]string{pkgdetails.FunctionsPath: ""})
}

// TestDebootstrapLogIsKeptOnError checks a promise of the manual, and that the cause is seen without opening the log.
func TestDebootstrapLogIsKeptOnError(t *testing.T) {
	t.Parallel()
	failure := errors.New("debootstrap: exit status 1")
	out := NewTail(nil)
	run := func(files map[string]string, dir string) error {
		out.Reset()
		toolbox := debootstrapToolbox(t)
		toolbox.On = func([]string, io.Writer) error { return failure }
		return Debootstrap{Suite: "trixie", Arch: "amd64"}.Run(t.Context(), &Context{
			Target: targettest.New(t, files), Toolbox: toolbox, FreshToolbox: targettest.Always(toolbox), Tmp: t.TempDir(),
			Archives: t.TempDir(), Dir: dir,
			Log: slog.New(slog.DiscardHandler), Out: out,
		})
	}
	dir := t.TempDir()
	err := run(map[string]string{"/var/cache/apt/": "", "/debootstrap/debootstrap.log": "dpkg: unknown option\n"}, dir)
	text, readErr := os.ReadFile(filepath.Join(dir, "debootstrap.log"))
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), dir) || readErr != nil ||
		string(text) != "dpkg: unknown option\n" {
		t.Errorf("got error %v and log %q (%v)", err, text, readErr)
	}
	if want := "The end of debootstrap.log:\ndpkg: unknown option"; out.String() != want {
		t.Errorf("shown: %q, want %q", out, want)
	}
	long := strings.Repeat("wget: ok\n", 1000) + "ERROR: The certificate has an unknown issuer.\n"
	_ = run(map[string]string{"/var/cache/apt/": "", "/debootstrap/debootstrap.log": long}, dir)
	if got := out.String(); strings.Count(got, "\n") != debootstrapLogLines || !strings.HasSuffix(got, "unknown issuer.") {
		t.Errorf("shown: %q", got)
	}
	for name, err := range map[string]error{
		"no log":            run(nil, dir),
		"missing directory": run(map[string]string{"/debootstrap/debootstrap.log": "x"}, filepath.Join(dir, "gone")),
	} {
		if !errors.Is(err, failure) {
			t.Errorf("%s: got %v, want %v", name, err, failure)
		}
	}
}
