// SPDX-License-Identifier: Apache-2.0

// Package diskimagetest contains helpers for tests of disk images: it finds the programs that check
// them, runs file system checks, and boots images in QEMU. It is for tests only, like
// net/http/httptest.
//
// The environment variable REQUIRE_TOOLS=1 turns each skip for a missing program into a failure;
// continuous integration sets it.
package diskimagetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// systemDirs are Debian's directories of administrators' programs; an ordinary user's PATH lacks
// them.
var systemDirs = []string{"/usr/sbin", "/sbin"}

// Tool returns the path of a program. If there is none, the test is skipped, or fails with
// REQUIRE_TOOLS=1.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	for _, dir := range systemDirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	Missing(t, name)
	return ""
}

// File returns the first of several files that exists. If there is none, the test is skipped, or
// fails with REQUIRE_TOOLS=1.
func File(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	Missing(t, fmt.Sprint(names))
	return ""
}

// Missing ends a test because something is missing: the test is skipped, or fails with
// REQUIRE_TOOLS=1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s is missing, and REQUIRE_TOOLS=1", what)
	}
	t.Skipf("%s is missing", what)
}

// Run runs a program found by Tool, in the C locale, and returns its standard output. The test
// fails if the program fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Tool(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// SparseFile creates a file that consists of a hole, and returns its name.
func SparseFile(t testing.TB, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sparse.img")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}
