package oci

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// The test binary is its own helper and, as argument 0 says, the programs inside containers.
func TestMain(m *testing.M) {
	if Init() || program() {
		return
	}
	if !Inside() {
		status, err := Reexec(context.Background(), ReexecConfig{
			Args: os.Args, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}
