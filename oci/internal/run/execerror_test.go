// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExecErrorsNameTheLimit: what the kernel says of a program that was not started is no hint at the limit that is
// reached.
func TestExecErrorsNameTheLimit(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "program"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for err, want := range map[error]string{
		unix.EAGAIN: "ulimit -u", unix.ENOMEM: "ulimit -v", unix.EPERM: "start /program",
	} {
		got := describeExecError(root, "/program", err)
		if !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v is described as %q", err, got)
		}
	}
}
