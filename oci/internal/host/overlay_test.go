// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Issue 14, 16: the doctor said that builds run with a state directory on NFS, where the first layer could not be
// unpacked. Outside of namespaces an ordinary user's files are like that.
func TestTryOwnersFindsFilesThatCannotBeGivenAway(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can give files to everybody")
	}
	dir := t.TempDir()
	err := TryOwners(IsolationUserNS, dir)
	var lack *Error
	if !errors.As(err, &lack) || !strings.Contains(lack.Cause, "cannot give files to other owners") ||
		!strings.Contains(lack.Fix, "--state-dir") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
