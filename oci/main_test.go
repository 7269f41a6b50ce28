// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// onHost is the prefix of tests that run where the test was started. All others run inside, where
// containers can be created.
const onHost = "TestHost"

// envOnly restricts a run of the tests inside to one isolation.
const envOnly = "OCI_TEST_ISOLATION"

// envWanted names the isolation that a run of the tests in ocitest's container must find.
const envWanted = "OCI_TEST_WANTED"

// here describes where this process runs. It is set once, by TestMain.
var here host.Place

// TestMain runs the tests on the host and inside, there once more with a single ID. The test binary
// also is its own helper and, depending on argv[0], the program in the containers.
func TestMain(m *testing.M) {
	var helper bool
	if here, helper = Init(); helper || ocitest.Init() || program() {
		return
	}
	flag.Parse()
	run := flag.Lookup("test.run").Value.String()
	hostOnly := strings.HasPrefix(strings.TrimPrefix(run, "^"), onHost)
	if here.Inside() {
		if err := flag.Set("test.skip", "^"+onHost); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if run == "" {
		if err := flag.Set("test.run", "^"+onHost); err != nil {
			panic(err)
		}
	}
	if run == "" || hostOnly {
		if status := m.Run(); status != 0 || hostOnly {
			os.Exit(status)
		}
	}
	// With a single ID, all tests must have the same results.
	isolations := []host.Isolation{host.IsolationAuto, host.IsolationSingle}
	if only, ok := os.LookupEnv(envOnly); ok {
		isolations = []host.Isolation{host.Isolation(only)}
	}
	for _, isolation := range isolations {
		status, err := host.Reexec(context.Background(), host.ReexecConfig{
			Args: os.Args, Env: os.Environ(), Isolation: isolation, Stdin: os.Stdin, Stdout: os.Stdout,
			Stderr: os.Stderr,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
		if status != 0 {
			os.Exit(status)
		}
	}
}
