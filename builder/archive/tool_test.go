// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"os"
	"os/exec"
	"testing"
)

// tool returns the path of a program that checks our results. Without it the test is skipped, or fails if REQUIRE_TOOLS
// is set.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REQUIRE_TOOLS") != "" {
		t.Fatalf("the tool %s is missing", name)
	}
	t.Skipf("the tool %s is missing", name)
	return ""
}
