// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestPodmanRunsWhatIsExported exports one system as container images in two formats. Podman runs a program
// of the first. It unpacks the second, and GNU tar reads it back: all that the tarball of the same build
// holds must be in it.
func TestPodmanRunsWhatIsExported(t *testing.T) {
	dir := t.TempDir()
	cmd := vmdebootstrap(t, "--distribution=trixie", "--debootstrapopts=variant=minbase", "--no-kernel", "--no-acpid",
		"--lock-root-password", "--package=libcap2-bin",
		"--run=cp /bin/true /usr/local/bin/capable && setcap cap_net_raw+ep /usr/local/bin/capable",
		"--tarball=root.tar.gz", "--export=docker-archive:docker.tar:localhost/exported:1",
		"--export=oci-archive:oci.tar:t",
		"--export-compression=zstd")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	p := newPodman(t)
	p.run(t, "load", "--quiet", "--input", filepath.Join(dir, "docker.tar"))
	out := p.run(t, "run", "--rm", "--network=none", "localhost/exported:1", "sh", "-c",
		"id --user; getcap /usr/local/bin/capable")
	if want := "0\n/usr/local/bin/capable cap_net_raw=ep\n"; out != want {
		t.Errorf("the container says %q, want %q", out, want)
	}

	id := strings.TrimSpace(p.run(t, "pull", "--quiet", "oci-archive:"+filepath.Join(dir, "oci.tar")+":t"))
	back := p.readBack(t, id)
	want, _ := readTarball(t, filepath.Join(dir, "root.tar.gz"))
	for name, h := range want {
		if name == "./" {
			continue // podman makes the root itself
		}
		if got := back[name]; got == nil || record(got) != record(h) {
			t.Errorf("%s is %s, want %s", name, record(got), record(h))
		}
		delete(back, name)
	}
	delete(back, "./")
	for name := range back {
		t.Errorf("%s is not in the tarball", name)
	}
}

// record describes a file as two archives of one system must agree on it. Of hard links, either may come first.
func record(h *tar.Header) string {
	if h == nil {
		return "nothing"
	}
	xattrs := map[string]string{}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			xattrs[key] = value
		}
	}
	kind, size, link := h.Typeflag, h.Size, h.Linkname
	if kind == tar.TypeLink || kind == tar.TypeReg {
		kind, size, link = tar.TypeReg, 0, ""
	}
	return fmt.Sprintf("%c %o %d:%d %d %q %d %q", kind, h.Mode, h.Uid, h.Gid, size, link, h.ModTime.Unix(), xattrs)
}

// podman is a podman with a store of its own.
type podman struct{ command []string }

// newPodman returns a podman whose store is removed at the end of the test. It uses runc, which also supports
// cgroup v1, and overlay, because the driver vfs loses access control lists.
func newPodman(t *testing.T) podman {
	t.Helper()
	diskimagetest.Tool(t, "podman")
	diskimagetest.Tool(t, "runc")
	dir, err := os.MkdirTemp("", "podman") // podman limits the length of --runroot
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("podman", "unshare", "rm", "-rf", dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return podman{[]string{"podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
		"--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "overlay", "--runtime", "runc", "--events-backend", "none"}}
}

// run runs podman and returns its output.
func (p podman) run(t *testing.T, args ...string) string {
	t.Helper()
	args = append(p.command[1:len(p.command):len(p.command)], args...)
	var stderr bytes.Buffer
	cmd := exec.Command(p.command[0], args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// readBack archives an image that podman has unpacked with GNU tar, and returns the headers.
func (p podman) readBack(t *testing.T, id string) map[string]*tar.Header {
	t.Helper()
	name := filepath.Join(t.TempDir(), "back.tar.gz")
	script := fmt.Sprintf(
		`root=$(%[1]s image mount %[2]s) && tar --xattrs --xattrs-include='*' -czf %[3]s -C "$root" . && %[1]s image unmount %[2]s`,
		strings.Join(p.command, " "), id, name)
	if out, err := exec.Command("podman", "unshare", "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	headers, _ := readTarball(t, name)
	return headers
}
