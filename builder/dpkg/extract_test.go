// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestPackagesAreExtractedAsByTar compares the files of packages, and the exit status, with what debootstrap's own
// extraction leaves.
func TestPackagesAreExtractedAsByTar(t *testing.T) {
	for _, tool := range []string{"dpkg-deb", "tar"} {
		diskimagetest.Tool(t, tool)
	}
	top, inside := diskimagetest.InNamespace(t)
	if !inside {
		return
	}
	old := time.Unix(1e9, 0)
	first := archivetest.Deb{Name: "first", Compression: ".xz", Files: []archivetest.File{
		{Name: "opt/dir", Typeflag: tar.TypeDir, Mode: 0o2750, ModTime: old},
		{Name: "opt/dir/file", Content: "content", Mode: 0o4711, ModTime: old},
		{Name: "opt/dir/hard", Typeflag: tar.TypeLink, Linkname: "./opt/dir/file", Mode: 0o4711},
		{Name: "opt/empty", Typeflag: tar.TypeDir, Mode: 0o700, ModTime: old},
		{Name: "opt/link", Linkname: "dir", ModTime: old}, {Name: "opt/out", Linkname: "/outside"},
	}}
	second := archivetest.Deb{Name: "second", Files: []archivetest.File{
		{Name: "opt/dir", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "opt/dir/other", Content: "x"},
		{Name: "opt/link", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "opt/a b\té", Content: "odd"},
	}}
	device := archivetest.Deb{Name: "device", Files: []archivetest.File{{Name: "opt/pipe", Typeflag: tar.TypeFifo}}}
	for name, debs := range map[string][]archivetest.Deb{
		"one":               {first},
		"one after other":   {first, second},
		"a file twice":      {first, first},
		"other kinds":       {device, first},
		"file in its way":   {{Name: "a", Files: []archivetest.File{{Name: "opt", Content: "x"}}}, first},
		"damaged":           {first, {Name: "damaged"}},
		"link to leads out": {first, {Name: "x", Files: []archivetest.File{{Name: "opt/out/file", Content: "x"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var trees [2]map[string]string
			for i := range trees {
				dir := filepath.Join(top, fmt.Sprintf("%s.%d", name, i))
				var names []string
				for j, d := range debs {
					data, err := d.Bytes()
					if err != nil {
						t.Fatal(err)
					}
					if d.Name == "damaged" {
						data = data[:len(data)-20]
					}
					names = append(names, fmt.Sprintf("debs/%d.deb", j))
					if err := os.MkdirAll(filepath.Join(dir, "debs"), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, names[j]), data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				script := `cd "$0" && for p; do dpkg-deb --fsys-tarfile $p | tar -k -xf - || exit 1; done`
				cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, dir}, names...)...)
				if i == 1 {
					cmd = exec.CommandContext(t.Context(), os.Args[0], append([]string{dir}, names...)...)
					cmd.Env = append(os.Environ(), asExtract+"=1")
				}
				out, err := cmd.CombinedOutput()
				trees[i] = tree(t, dir)
				delete(trees[i], ".")
				trees[i]["failed"] = fmt.Sprint(err != nil)
				t.Logf("%s", out)
			}
			compare(t, trees[1], trees[0])
		})
	}
	if entries, err := os.ReadDir("/outside"); err == nil {
		t.Errorf("%v were written outside of the directory", entries)
	}
}
