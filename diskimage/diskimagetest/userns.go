// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideNamespace is the environment variable that holds the directory of a test which runs in a namespace.
const insideNamespace = "DISKIMAGETEST_DIRECTORY"

// InNamespace runs the calling test again as root of a user namespace with mounts of its own, in parallel with others.
// There it returns a directory for the test and true. In the test itself it returns false when that run has ended; the
// test fails if that did, and is skipped as by Missing if the host allows no user namespaces.
func InNamespace(t *testing.T) (dir string, inside bool) {
	t.Helper()
	if dir := os.Getenv(insideNamespace); dir != "" {
		return dir, true
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$",
		"-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.Env = append(os.Environ(), insideNamespace+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		Missing(t, "permission to make user namespaces")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return "", false
}
