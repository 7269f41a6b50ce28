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
)

func TestRootTakesARangeThatIsNobodys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		want       uint64
	}{
		{"none", "", ownFirst},
		{"of another", "alice:100000:65536\n", ownFirst},
		{"root's", "alice:100000:65536\nroot:165536:65536\n", 165536},
		{"root's by its number", "0:200000:131072\n", 200000},
		{"root's, too short", "root:200000:65535\n", ownFirst},
		{"root's, of real users", "root:1000:100000\n", ownFirst},
		{"the default is another's", fmt.Sprintf("alice:%d:65536\n", ownFirst), ownFirst + ownCount},
		{"the default's end is another's", fmt.Sprintf("alice:%d:1\nbob:%d:1\n", ownFirst+ownCount-1, ownFirst+ownCount), ownFirst + 2*ownCount},
	} {
		if got, err := ownRange([]byte(tt.file)); err != nil || got != tt.want {
			t.Errorf("%s: got %d (%v), want %d", tt.name, got, err, tt.want)
		}
	}
	if got, err := ownRange(fmt.Appendf(nil, "alice:%d:%d\n", ownFirst, ownEnd-ownFirst)); err == nil {
		t.Errorf("all ids are another's: got %d", got)
	}
}

// Each id is named once on either side, or the kernel refuses the map.
func TestSwappedIDsAreAll(t *testing.T) {
	t.Parallel()
	for start, want := range map[uint64]string{
		ownFirst: "0 1879048192 65536\n65536 65536 1878982656\n1879048192 0 65536\n1879113728 1879113728 2415853567\n",
		ownCount: "0 65536 65536\n65536 0 65536\n131072 131072 4294836223\n",
	} {
		if got := lines(swapArgs(start)); got != want {
			t.Errorf("%d: got\n%s\nwant\n%s", start, got, want)
		}
	}
}

// A root's container has ids that are nobody's outside, uses what is lent to it as root does, and what it makes there is root's
// (issue 12, A2).
func TestHostContainersWorkWithARangeOfRoots(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a real root has no ids above it")
	}
	// On the disk of the tests, in a directory of somebody else that only he and root may use.
	lent, err := os.MkdirTemp("/var/tmp", "oci-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(lent) })
	theirs := filepath.Join(lent, "theirs")
	if err := os.WriteFile(theirs, []byte("words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lent, theirs} {
		if err := os.Chown(name, 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(envOnly, string(IsolationUserNS))
	cmd := command(t, "lending", stateDir(t), lent)
	cmd.Dir = lent
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "words\n/proc/self/uid_map:          0          0      65536\n"; string(out) != want {
		t.Errorf("the program prints %q, want %q", out, want)
	}
	for name, uid := range map[string]uint32{"theirs": 1234, "made": 0, "engine": 0} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(lent, name), &st); err != nil || st.Uid != uid {
			t.Errorf("%s belongs to %d (%v), want %d", name, st.Uid, err, uid)
		}
	}
	want, err := ownIDs()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(lent, "engine"))
	if err != nil || !slices.Equal(strings.Fields(string(got)), want.uid) {
		t.Errorf("the engine's ids are %s (%v), want %v", got, err, want.uid)
	}
}

// lending STATEDIR DIR lends a directory to a program, and writes to it as the engine.
func lending(args []string) error {
	goInside()
	ctx, lent := context.Background(), args[1]
	e, err := Open(ctx, EngineOptions{StateDir: args[0]})
	if err != nil {
		return err
	}
	c, err := newScratch(ctx, e)
	if err != nil {
		return err
	}
	mounts := []specs.Mount{{Destination: "/lent", Type: "bind", Source: lent, Options: []string{"rbind"}}}
	for _, p := range []*specs.Process{
		newProcess("write", "/lent/made", "x"), newProcess("cat", "/lent/theirs"), newProcess("list", "/proc/self/uid_map"),
	} {
		var out bytes.Buffer
		err := c.Run(ctx, p, mounts, nil, &out)
		fmt.Print(out.String())
		if err != nil {
			return err
		}
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err := errors.Join(err, os.WriteFile(filepath.Join(lent, "engine"), ids, 0o600)); err != nil {
		return err
	}
	return e.Close()
}
