// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

func TestFilesForTheMedium(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{
		"/var/lib/live/medium/pool/a.deb": "package", "/var/lib/live/medium/dists/": "", "/var/lib/live/config/x": "",
	})
	if err := f.Symlink("pool/a.deb", "/var/lib/live/medium/latest"); err != nil {
		t.Fatal(err)
	}
	entries, err := mediumFiles(f, treeTime)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		text := e.Linkname
		if e.IsRegular() {
			content, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(io.NewSectionReader(content, 0, e.Size))
			if err != nil || content.Close() != nil {
				t.Fatal(err)
			}
			text = string(data)
		}
		if e.UID != 0 || !e.ModTime.Equal(treeTime) {
			t.Errorf("%s has owner %d and time %v", e.Name, e.UID, e.ModTime)
		}
		got = append(got, e.Name+"="+text)
	}
	slices.Sort(got)
	if want := []string{"dists=", "latest=pool/a.deb", "pool/a.deb=package", "pool="}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if entries, err := mediumFiles(targettest.New(t, nil), treeTime); err != nil || len(entries) > 0 {
		t.Errorf("without the directory: %v, %v", entries, err)
	}
}

// A link in the way would have the squashfs hold what is on the medium already, or lack what is not.
func TestFilesForTheMediumAreWhereTheNameSays(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/srv/live/medium/a": "", "/var/lib/": ""})
	if err := f.Symlink("../../srv/live", "/var/lib/live"); err != nil {
		t.Fatal(err)
	}
	if _, err := mediumFiles(f, treeTime); err == nil || err.Error() != "/var/lib/live is not a directory" {
		t.Errorf("got %v", err)
	}
}

func TestFilesForTheMediumReplaceNone(t *testing.T) {
	t.Parallel()
	iso := newISO(testSpec(t, func(o *Options) { o.Image, o.ISO = "", "/out/live.iso" }), testLock())
	files := liveFiles(t)
	files["/var/lib/live/medium/live/vmlinuz-6.12"] = "another kernel"
	f := targettest.New(t, files)
	parts, err := iso.Loader.Prepare(f)
	if err != nil {
		t.Fatal(err)
	}
	own, err := mediumFiles(f, iso.Loader.Time)
	if err != nil {
		t.Fatal(err)
	}
	parts.Files = append(parts.Files, own...)
	root, err := os.Create(filepath.Join(t.TempDir(), "squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := iso.plan(parts, root); err == nil || !strings.Contains(err.Error(), boot.LiveDir+"/vmlinuz-6.12") {
		t.Errorf("got %v", err)
	}
}
