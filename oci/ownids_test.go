// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// Root's containers have IDs that do not exist outside; inside, root has the same access to a
// shared directory as outside, and files created there belong to root (issue 12, A2).
func TestHostContainersWorkWithARangeOfRoots(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the host's root has no IDs above its own")
	}
	// On the disk of the tests, in a directory that only root and another user may enter.
	shared, err := os.MkdirTemp("/var/tmp", "oci-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	theirs := filepath.Join(shared, "theirs")
	if err := os.WriteFile(theirs, []byte("words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{shared, theirs} {
		if err := os.Chown(name, 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(envOnly, string(host.IsolationUserNS))
	cmd := command(t, "sharing", stateDir(t), shared)
	cmd.Dir = shared
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "words\n/proc/self/uid_map:          0          0      65536\n"; string(out) != want {
		t.Errorf("the program prints %q, want %q", out, want)
	}
	for name, uid := range map[string]uint32{"theirs": 1234, "made": 0, "engine": 0} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(shared, name), &st); err != nil || st.Uid != uid {
			t.Errorf("%s belongs to %d (%v), want %d", name, st.Uid, err, uid)
		}
	}
	want, err := host.OwnIDs()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(shared, "engine"))
	if err != nil || !slices.Equal(strings.Fields(string(got)), want.Uid) {
		t.Errorf("the engine's IDs are %s (%v), want %v", got, err, want.Uid)
	}
}

// sharing STATEDIR DIR shares a directory with a program, and writes to it as the engine.
func sharing(args []string) error {
	goInside()
	ctx, shared := context.Background(), args[1]
	e, c, err := openScratch(ctx, args[0])
	if err != nil {
		return err
	}
	mounts := []specs.Mount{{Destination: "/shared", Type: "bind", Source: shared, Options: []string{"rbind"}}}
	for _, p := range []*specs.Process{
		newProcess("write", "/shared/made", "x"), newProcess("cat", "/shared/theirs"),
		newProcess("list", "/proc/self/uid_map"),
	} {
		var out bytes.Buffer
		err := c.Run(ctx, p, mounts, nil, &out)
		fmt.Print(out.String())
		if err != nil {
			return err
		}
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err := errors.Join(err, os.WriteFile(filepath.Join(shared, "engine"), ids, 0o600)); err != nil {
		return err
	}
	return e.Close()
}
