// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

func TestReadFilesReturnsRegularFiles(t *testing.T) {
	t.Parallel()
	deb, err := archivetest.Deb{Name: "tool", Files: []archivetest.File{
		{Name: "usr/bin/tool", Content: "program"}, {Name: "usr/bin/link", Linkname: "tool"},
		{Name: "usr/share/other", Content: "x"},
	}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "tool.deb")
	if err := os.WriteFile(name, deb, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFiles(t.Context(), name, "usr/bin/tool", "usr/bin/link", "usr/bin/none")
	if err != nil || len(got) != 1 || string(got["usr/bin/tool"]) != "program" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(name, deb[:len(deb)-30], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFiles(t.Context(), name, "usr/bin/none"); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("truncated: got %v", err)
	}
}

// Issue 15: dpkg found a broken --custom-package after minutes, in many lines.
func TestCheckReadsAllOfAPackage(t *testing.T) {
	t.Parallel()
	tool := archivetest.File{Name: "usr/bin/tool", Content: "program"}
	deb, err := archivetest.Deb{Name: "tool", Files: []archivetest.File{tool}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), bytes.NewReader(deb)); err != nil {
		t.Errorf("intact: %v", err)
	}
	for what, data := range map[string][]byte{
		"empty": nil, "text": []byte("no package\n"), "cut": deb[:len(deb)-30], "half": deb[:len(deb)/2],
	} {
		if err := Check(t.Context(), bytes.NewReader(data)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line", what, err)
		}
	}
}
