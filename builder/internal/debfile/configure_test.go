// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

func TestConfigureReplacesMaintainerScripts(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	deb := archivetest.Deb{Name: "a", Files: []archivetest.File{
		{Name: "usr/share/base-passwd/passwd.master", Content: "root::0:0:root:/root:/bin/bash\n"},
		{Name: "usr/share/base-passwd/group.master", Content: "root::0:\n"},
		{Name: "usr/share/ca-certificates/mozilla/B.crt", Content: "cert B\n"},
		{Name: "usr/share/ca-certificates/mozilla/A.crt", Content: "cert A"},
		{Name: "usr/share/ca-certificates/mozilla/README", Content: "text"},
		{Name: "usr/bin/mawk", Mode: 0o755, Content: "mawk"},
		{Name: "usr/bin/which.debianutils", Mode: 0o755, Content: "which"},
	}}
	if err := Unpack(t.Context(), []string{buildDeb(t, deb)}, root, owners(Options{MergedUsr: true})); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := Configure(root); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"etc/passwd": "root::0:0:root:/root:/bin/bash\n", "etc/group": "root::0:\n", "bin/awk": "mawk",
			"bin/which":                         "which",
			"etc/ssl/certs/ca-certificates.crt": "cert A\ncert B\n", "var/lib/dpkg/status": "",
		} {
			if data, err := os.ReadFile(filepath.Join(root, name)); string(data) != want || err != nil {
				t.Errorf("%s: got %q, %v", name, data, err)
			}
		}
	}
	for name, want := range map[string]os.FileMode{
		"tmp": os.ModeDir | os.ModeSticky | 0o777, "var/tmp": os.ModeDir | os.ModeSticky | 0o777, "etc/passwd": 0o644,
		"proc": os.ModeDir | 0o755,
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func TestConfigureDoesWithoutPackages(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := Configure(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "usr/bin/awk")); err == nil {
		t.Error("there is an awk that leads nowhere")
	}
}

func TestConfigureStaysInTheRoot(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	outside, root := filepath.Join(base, "outside"), filepath.Join(base, "root")
	for _, dir := range []string{outside, filepath.Join(root, "usr/share/base-passwd")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/share/base-passwd/passwd.master"), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := Configure(root); err == nil {
		t.Error("an etc that leads out of the root passes")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}
