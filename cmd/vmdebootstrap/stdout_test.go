// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file called "-" was made, and /dev/stdout was refused. What --copy-in puts into the system, holes included, is in
// the archive (issue 14, 14).
func TestTarballGoesToStandardOutput(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	state := o.machine()
	const hole = 200 << 20
	then := time.Unix(1_500_000_000, 0)
	program := filepath.Join(o.dir, "program")
	if err := errors.Join(os.WriteFile(program, []byte("data"), 0o600), os.Truncate(program, hole),
		os.Chmod(program, 0o755|os.ModeSetuid), os.Chtimes(program, then, then)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"-", "/dev/stdout"} {
		cmd := o.command(state, "--mirror="+o.repo.URL(), "--lock-root-password", "--copy-in="+program+":/usr/bin/p",
			"--tarball="+name)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, &stderr)
		}
		if !strings.Contains(stderr.String(), "write a tar archive to standard output") {
			t.Errorf("%s: standard error has %q", name, &stderr)
		}
		if stdout.Len() > 50<<20 {
			t.Errorf("%s: the archive has %d bytes", name, stdout.Len())
		}
		found := false
		for r := tar.NewReader(&stdout); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if h.Name != "./usr/bin/p" {
				continue
			}
			found = true
			if want := int64(0o4755); h.Mode != want || h.Size != hole || !h.ModTime.Equal(then) || h.Uid != 0 {
				t.Errorf("%s: got %+v, want mode %o, %d bytes of %v", name, h, want, int64(hole), then)
			}
		}
		if !found {
			t.Errorf("%s: /usr/bin/p is not in the archive", name)
		}
		if _, err := os.Lstat(filepath.Join(o.dir, "-")); err == nil {
			t.Errorf("%s: a file called - was made", name)
		}
	}
}
