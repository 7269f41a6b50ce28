// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// podScript makes the root file system read-only but for the directory $1, as readOnlyRootFilesystem of Kubernetes with
// one volume, gives it 64 MB of /dev/shm, and becomes the program $3 with the name $2.
const podScript = `set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t tmpfs -o size=64m,mode=1777 shm /dev/shm
mount -o remount,bind,ro /
exec -a "$2" "$3" "${@:4}"
`

// inPod runs a command, whose program is in the pod's only volume, as podScript says.
func inPod(t *testing.T, dir string, inner *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", podScript, "bash", dir, inner.Args[0],
		executable(t, inner)},
		inner.Args[1:]...)...)
	cmd.SysProcAttr = inner.SysProcAttr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNS
	return cmd
}

// TestIsolationsWorkInPods builds and asks the doctor with each kind of isolation in a pod without privileges: a
// read-only root file system, no_new_privs, little shared memory, an id that has no name, no home directory. What the
// doctor says must be true.
func TestIsolationsWorkInPods(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make the mounts of a pod; .ci/run does this")
	}
	const openShift = 1_000_660_000 // the first of a project's range; its group is 0
	setpriv := func(how ...string) func(string, ...string) *exec.Cmd {
		return func(program string, args ...string) *exec.Cmd {
			return exec.Command("/usr/bin/setpriv", slices.Concat(how, []string{"--no-new-privs", program}, args)...)
		}
	}
	asNobody := setpriv(fmt.Sprintf("--reuid=%d", openShift), "--regid=0", "--clear-groups")
	for _, tt := range []struct {
		name    string
		command func(program string, args ...string) *exec.Cmd
		uid     int
		home    []string      // HOME=… or nothing
		want    oci.Isolation // empty: no build can run there
	}{
		{"root", exec.Command, 0, []string{"HOME=/root"}, oci.IsolationUserNS},
		{"no_new_privs", setpriv(), 0, nil, oci.IsolationUserNS},
		{"docker", noNewPrivs(ocitest.Docker), 0, []string{"HOME=/nonexistent"}, oci.IsolationChroot},
		{"unconfined", noNewPrivs(ocitest.Unconfined), 0, []string{"HOME=/root"}, oci.IsolationUserNS},
		{"openshift", asNobody, openShift, []string{"HOME=/"}, oci.IsolationSingle},
		{"openshift without HOME", asNobody, openShift, nil, oci.IsolationSingle},
		{"openshift with seccomp", func(program string, args ...string) *exec.Cmd {
			inner := asNobody(program, args...)
			return ocitest.Docker(inner.Path, inner.Args[1:]...)
		}, openShift, nil, ""},
		{"no capabilities", func(program string, args ...string) *exec.Cmd {
			inner := setpriv("--bounding-set=-all")(program, args...)
			return ocitest.Docker(inner.Path, inner.Args[1:]...)
		}, 0, []string{"HOME=/root"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffline(t)
			var err error
			if o.dir, err = os.MkdirTemp("/var/tmp", "isolation-pod-"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(o.dir); err != nil {
					t.Error(err)
				}
			})
			program := filepath.Join(o.dir, programName)
			keys := filepath.Join(o.dir, "keys.gpg")
			copyFile(t, vmdebootstrap(t).Path, program, 0o755)
			copyFile(t, o.keys, keys, 0o644)
			o.keys = keys
			if err := os.Chown(o.dir, tt.uid, 0); err != nil {
				t.Fatal(err)
			}
			state := filepath.Join(o.dir, "state")
			run := func(args ...string) (string, error) {
				cmd := inPod(t, o.dir, tt.command(program, args...))
				cmd.Dir = o.dir
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, tt.home...)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			text, err := run("doctor", "--json", "--state-dir="+state)
			var d diagnosis
			if jsonErr := json.Unmarshal([]byte(text), &d); jsonErr != nil || d.Isolation != tt.want ||
				d.Builds != (err == nil) || d.Builds != (tt.want != "") {
				t.Errorf("the doctor: %v\n%s", err, text)
			}
			args := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password", "--run=id -u; mkdir /srv; "+
				"chown 7:8 /srv", "--user=alice/secret").Args[1:]
			text, err = run(args...)
			if tt.want == "" {
				var failed *exec.ExitError
				if !errors.As(err, &failed) || failed.ExitCode() != exitHost {
					t.Errorf("got %v, want exit status %d\n%s", err, exitHost, text)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if !strings.Contains(text, "\n0\n") {
				t.Errorf("the command was not run by root:\n%s", text)
			}
			if got := tarEntries(t, filepath.Join(o.dir, "out.tar"))["./srv/"]; !strings.Contains(got, " 7:8 ") {
				t.Errorf("/srv: %s", got)
			}
		})
	}
}

// copyFile copies a file.
func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		t.Fatal(err)
	}
}
