// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// offsets reads a directory in small pieces.
func offsets(args []string) error {
	dir, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer dir.Close()
	buf := make([]byte, 1024)
	for {
		n, err := unix.Getdents(int(dir.Fd()), buf)
		if err != nil || n == 0 {
			return err
		}
		for e := buf[:n]; len(e) > 0; e = e[binary.NativeEndian.Uint16(e[supervise.DirentLength:]):] {
			name := unix.ByteSliceToString(e[supervise.DirentHeader+1:]) // after d_type
			fmt.Println(name, binary.NativeEndian.Uint64(e[supervise.DirentOffset:]) <= math.MaxInt32)
		}
	}
}

func TestDirectoryOffsetsFitEmulated32BitPrograms(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	c := foreignContainer(t, e)
	if err := c.MkdirAll("/many", 0o755); err != nil {
		t.Fatal(err)
	}
	want := []string{".", ".."}
	for i := range 500 {
		name := fmt.Sprintf("entry-with-a-long-name-%d", i)
		if err := c.WriteFile(filepath.Join("/many", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	slices.Sort(want)
	read := func() (names []string, small bool) {
		small = true
		for line := range strings.Lines(output(t, c, newProcess("offsets", "/many"))) {
			name, fits, _ := strings.Cut(strings.TrimSpace(line), " ")
			names, small = append(names, name), small && fits == "true"
		}
		slices.Sort(names)
		return names, small
	}
	if _, small := read(); small {
		t.Log("this file system has no offsets of more than 31 bits: the test proves little")
	}
	e.Emulate(sparc, testEmulator(t))
	names, small := read()
	if !slices.Equal(names, want) {
		t.Errorf("got %d names, want %d", len(names), len(want))
	}
	if !small {
		t.Error("offsets of more than 31 bits")
	}
	if got := output(t, c, newProcess("offsets", "/bin")); strings.Count(got, "\n") != 6 {
		t.Errorf("another directory: %q", got)
	}
	p := newProcess("offsets", "/bin/program")
	if err := c.Run(t.Context(), p, nil, nil, nil); err == nil {
		t.Error("a file was read as a directory")
	}
}
