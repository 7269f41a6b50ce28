package oci

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func openEngine(t *testing.T, driver string) *Engine {
	t.Helper()
	e, err := Open(t.Context(), EngineOptions{StateDir: t.TempDir(), Driver: driver, Resolver: []byte("nameserver 192.0.2.1\n")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// scratch gives a container that holds nothing but the test binary as /bin/program.
func scratch(t *testing.T, e *Engine) *Container {
	t.Helper()
	c, err := e.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.MkdirAll("/bin", 0o755), c.WriteFile("/bin/program", self, 0o755)); err != nil {
		t.Fatal(err)
	}
	return c
}

func process(args ...string) *specs.Process {
	return &specs.Process{Args: append([]string{"/bin/program"}, args...), Cwd: "/", Env: []string{"PATH=/bin"}}
}

func TestRunPassesInputOutputAndStatus(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t, ""))
	var out bytes.Buffer
	if err := c.Run(t.Context(), process("cat"), nil, strings.NewReader("hello"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "hello" {
		t.Errorf("got %q", out.String())
	}
	err := c.Run(t.Context(), process("exit", "7"), nil, nil, nil)
	var exitErr *ExitError
	if !errors.As(err, &exitErr) || exitErr.ExitStatus() != 7 {
		t.Errorf("got %v, want exit status 7", err)
	}
}
