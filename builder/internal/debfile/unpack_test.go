// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// buildDeb writes a .deb and returns its path.
func buildDeb(t *testing.T, d archivetest.Deb) string {
	t.Helper()
	data, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), d.Name+".deb")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// owners sets SkipOwners where the test may not set owners.
func owners(opts Options) Options {
	opts.SkipOwners = os.Geteuid() != 0
	return opts
}

// listTree describes each file below a directory: path, mode, owner, time, and content or target.
func listTree(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d %s", rel, info.Mode(), st.Uid, st.Gid,
			info.ModTime().UTC().Format(time.DateOnly))
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q %d", data, st.Nlink)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		if path != root {
			list = append(list, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUnpackKeepsAttributes(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		// Only root can set owners: run this test again as root of a user namespace with subordinate IDs.
		args := []string{"--user", "--map-root-user", "--map-auto", os.Args[0], "-test.run=^" + t.Name() + "$"}
		cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "unshare"), args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("as root of a user namespace: %v\n%s", err, out)
		}
		return
	}
	then := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	deb := archivetest.Deb{Name: "a", Files: []archivetest.File{
		{Name: "usr/bin/su", Mode: 0o4755, Content: "setuid"},
		{Name: "usr/bin/write", Mode: 0o2755, GID: 5, Content: "setgid", ModTime: then},
		{Name: "var/local", Typeflag: tar.TypeDir, Mode: 0o2775, GID: 50, ModTime: then},
		{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "usr/bin/same", Typeflag: tar.TypeLink, Linkname: "./usr/bin/su"},
		{Name: "usr/bin/absolute", Linkname: "/usr/bin/su", ModTime: then},
		{Name: "usr/bin/relative", Linkname: "su"},
		{Name: "usr/bin/again", Typeflag: tar.TypeLink, Linkname: "./usr/bin/relative"},
		{Name: "etc/shadow", Mode: 0o640, UID: 0, GID: 42},
		{Name: "usr/share/" + strings.Repeat("long/", 40) + "name", Content: "x"},
	}}
	for _, compression := range []string{".gz", ".xz", ".zst", ".none"} {
		t.Run(compression, func(t *testing.T) {
			t.Parallel()
			deb := deb
			deb.Compression = compression
			root := t.TempDir()
			if err := Unpack(t.Context(), []string{buildDeb(t, deb)}, root, Options{}); err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(listTree(t, root),
				func(line string) bool { return strings.HasPrefix(line, "usr/share") })
			want := []string{
				`etc drwxr-xr-x 0:0 2025-01-01`,
				`etc/shadow -rw-r----- 0:42 2025-01-01 "" 1`,
				`tmp dtrwxrwxrwx 0:0 2025-01-01`,
				`usr drwxr-xr-x 0:0 2025-01-01`,
				`usr/bin drwxr-xr-x 0:0 2025-01-01`,
				`usr/bin/absolute Lrwxrwxrwx 0:0 2020-02-03 -> /usr/bin/su`,
				`usr/bin/again Lrwxrwxrwx 0:0 2025-01-01 -> su`,
				`usr/bin/relative Lrwxrwxrwx 0:0 2025-01-01 -> su`,
				`usr/bin/same urwxr-xr-x 0:0 2025-01-01 "setuid" 2`,
				`usr/bin/su urwxr-xr-x 0:0 2025-01-01 "setuid" 2`,
				`usr/bin/write grwxr-xr-x 0:5 2020-02-03 "setgid" 1`,
				`var drwxr-xr-x 0:0 2025-01-01`,
				`var/local dgrwxrwxr-x 0:50 2020-02-03`,
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if _, err := os.Stat(filepath.Join(root, "usr/share", strings.Repeat("long/", 40), "name")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnpackNeverLeavesTheRoot(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]archivetest.File{
		"dots":                 {{Name: "../../outside/victim", Content: "evil"}},
		"dots below":           {{Name: "usr/../../../outside/victim", Content: "evil"}},
		"absolute":             {{Name: "/outside/victim", Content: "evil"}},
		"link to a directory":  {{Name: "out", Linkname: "OUTSIDE"}, {Name: "out/victim", Content: "evil"}},
		"link in the root":     {{Name: "rootlink/victim", Content: "evil"}},
		"relative in the root": {{Name: "dotlink/victim", Content: "evil"}},
		"link to a file":       {{Name: "victim", Linkname: "OUTSIDE/victim"}, {Name: "victim", Content: "evil"}},
		"file over a link":     {{Name: "filelink", Mode: 0o777, Content: "evil"}},
		"hard link": {{Name: "h", Typeflag: tar.TypeLink, Linkname: "OUTSIDE/victim"},
			{Name: "h", Content: "evil"}},
		"hard link by dots":   {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../outside/victim"}},
		"hard link by a link": {{Name: "h", Typeflag: tar.TypeLink, Linkname: "rootlink/victim", Mode: 0o777}},
		"directory mode": {{Name: "rootlink", Typeflag: tar.TypeDir, Mode: 0o700},
			{Name: "rootlink/victim", Content: "evil"}},
		"link over the root": {{Name: ".", Linkname: "OUTSIDE"}, {Name: "victim", Content: "evil"}},
		"merged dir":         {{Name: "lib", Linkname: "OUTSIDE"}, {Name: "lib/victim", Content: "evil"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			outside, root := filepath.Join(base, "outside"), filepath.Join(base, "root")
			for _, dir := range []string{outside, root} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			victim := filepath.Join(outside, "victim")
			if err := os.WriteFile(victim, []byte("innocent"), 0o600); err != nil {
				t.Fatal(err)
			}
			for link, target := range map[string]string{"rootlink": outside, "dotlink": "../outside",
				"filelink": victim} {
				if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
					t.Fatal(err)
				}
			}
			before := listTree(t, outside)
			for i := range files {
				files[i].Linkname = strings.Replace(files[i].Linkname, "OUTSIDE", outside, 1)
			}
			for _, merged := range []bool{false, true} {
				// Either an error or a file inside of root is fine.
				err := Unpack(t.Context(), []string{buildDeb(t, archivetest.Deb{Name: "evil", Files: files})}, root,
					owners(Options{MergedUsr: merged}))
				t.Logf("merged %v: %v", merged, err)
				if after := listTree(t, outside); !reflect.DeepEqual(after, before) {
					t.Fatalf("the directory outside of root has changed: %q", after)
				}
			}
		})
	}
}

func TestUnpackMergesUsr(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	old := archivetest.Deb{Name: "old", Files: []archivetest.File{
		{Name: "bin/sh", Mode: 0o755, Content: "dash"}, {Name: "lib/x/y.so", Content: "so"},
		{Name: "lib64/ld.so", Content: "ld"},
		{Name: "bin/hard", Typeflag: tar.TypeLink, Linkname: "./bin/sh"},
	}}
	base := archivetest.Deb{Name: "base-files", Files: []archivetest.File{{Name: "bin", Linkname: "usr/bin"},
		{Name: "usr/bin/b", Content: "b"}}}
	if err := Unpack(t.Context(), []string{buildDeb(t, old), buildDeb(t, base)}, root,
		owners(Options{MergedUsr: true})); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"usr/bin/sh": "dash", "usr/bin/hard": "dash", "bin/b": "b",
		"usr/lib/x/y.so": "so", "usr/lib64/ld.so": "ld"} {
		if data, err := os.ReadFile(filepath.Join(root, name)); string(data) != content || err != nil {
			t.Errorf("%s: got %q, %v", name, data, err)
		}
	}
	for _, name := range mergedDirs {
		if target, err := os.Readlink(filepath.Join(root, name)); target != "usr/"+name || err != nil {
			t.Errorf("%s: got %q, %v", name, target, err)
		}
	}
}

func TestUnpackExcludesDocumentation(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	deb := archivetest.Deb{Name: "a", Files: []archivetest.File{
		{Name: "usr/share/doc/a/copyright"}, {Name: "usr/share/man/man1/a.1"}, {Name: "usr/share/locale/de/a.mo"},
		{Name: "usr/share/docs/kept"},
	}}
	opts := owners(Options{Exclude: Documentation()})
	if err := Unpack(t.Context(), []string{buildDeb(t, deb)}, root, opts); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range listTree(t, root) {
		name, _, _ := strings.Cut(line, " ")
		got = append(got, name)
	}
	want := "usr usr/share usr/share/doc usr/share/docs usr/share/docs/kept usr/share/locale usr/share/man"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestUnpackResultIsIndependentOfWorkers(t *testing.T) {
	t.Parallel()
	var debs []string
	for i := range 12 {
		deb := archivetest.Deb{Name: fmt.Sprintf("p%d", i), Files: []archivetest.File{
			{Name: "usr/lib/shared", Content: fmt.Sprint(i)},
			{Name: "usr/lib/link", Linkname: fmt.Sprint("target", i)},
			{Name: "usr/lib/dir", Typeflag: tar.TypeDir, Mode: int64(0o755 - i)},
			{Name: fmt.Sprintf("usr/lib/own%d", i), Content: strings.Repeat("x", (12-i)*10000)},
			{Name: "usr/share/x/file", Content: "x"},
		}}
		if i%3 == 0 {
			deb.Files = append(deb.Files, archivetest.File{Name: "usr/share/x", Linkname: "y"})
			deb.Files = slices.DeleteFunc(deb.Files,
				func(f archivetest.File) bool { return f.Name == "usr/share/x/file" })
		}
		debs = append(debs, buildDeb(t, deb))
	}
	var first []string
	for _, workers := range []int{1, 2, 12} {
		root := t.TempDir()
		if err := Unpack(t.Context(), debs, root, owners(Options{Workers: workers})); err != nil {
			t.Fatal(err)
		}
		tree := listTree(t, root)
		if first == nil {
			first = tree
			for _, want := range []string{`usr/lib/shared `, ` "11" 1`, `usr/lib/link `, ` -> target11`,
				`usr/lib/dir drwxr-xr-x`, `usr/share/x/file `} {
				if !strings.Contains(strings.Join(tree, "\n"), want) {
					t.Errorf("the tree lacks %q:\n%s", want, strings.Join(tree, "\n"))
				}
			}
		}
		if !reflect.DeepEqual(tree, first) {
			t.Errorf("with %d workers:\n%s\nwant\n%s", workers, strings.Join(tree, "\n"), strings.Join(first, "\n"))
		}
	}
}

func TestUnpackReportsDamage(t *testing.T) {
	t.Parallel()
	good, err := archivetest.Deb{Name: "a", Compression: ".xz",
		Files: []archivetest.File{{Name: "f", Content: strings.Repeat("content", 1000)}}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(good)-40] ^= 1 // the check value of the xz stream
	device, err := archivetest.Deb{Name: "a", Files: []archivetest.File{{Name: "null", Typeflag: tar.TypeChar}}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "no ar": []byte(strings.Repeat("x", 100)), "only the magic": good[:8],
		"cut in a header": good[:30],
		"cut in control":  good[:200], "cut in data": good[:len(good)-100], "a bit": flipped, "device": device,
	} {
		file := filepath.Join(t.TempDir(), "a.deb")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		err := Unpack(t.Context(), []string{file}, t.TempDir(), owners(Options{}))
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnpackStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	deb := buildDeb(t, archivetest.Deb{Name: "a", Files: []archivetest.File{{Name: "f"}}})
	if err := Unpack(ctx, []string{deb}, t.TempDir(), owners(Options{})); !errors.Is(err,
		context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUnpackAgreesWithDpkgDeb(t *testing.T) {
	t.Parallel()
	dpkg := diskimagetest.Tool(t, "dpkg-deb")
	source := t.TempDir()
	if err := os.MkdirAll(filepath.Join(source, "DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	control := "Package: judged\nVersion: 1:2-3\nArchitecture: all\nMaintainer: x <x@example.org>\nDepends: a, b (>= 1)\nDescription: x\n"
	for name, content := range map[string]string{"DEBIAN/control": control, "usr/bin/x": "program",
		"etc/conf": "setting"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../bin/x", filepath.Join(source, "etc/link")); err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"gzip", "xz", "zstd", "none"} {
		deb := filepath.Join(t.TempDir(), "judged.deb")
		out, err := exec.Command(dpkg, "--root-owner-group", "-Z"+compression, "--build", source, deb).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		theirs, ours := t.TempDir(), t.TempDir()
		if out, err := exec.Command(dpkg, "-x", deb, theirs).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := Unpack(t.Context(), []string{deb}, ours, owners(Options{})); err != nil {
			t.Fatal(err)
		}
		if got, want := listTree(t, ours), listTree(t, theirs); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", compression, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	good, err := archivetest.Deb{Name: "a", Compression: ".none",
		Files: []archivetest.File{{Name: "f", Content: "x"}}}.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:100])
	for _, compression := range []string{".gz", ".xz", ".zst"} {
		deb, err := archivetest.Deb{Name: "a", Compression: compression}.Bytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(deb)
	}
	f.Add([]byte(arMagic))
	f.Add([]byte(arMagic + "debian-binary   0           0     0     100644  99999999999999`\n2.0\n"))
	f.Fuzz(func(t *testing.T, deb []byte) {
		_, _ = readFiles(t.Context(), bytes.NewReader(deb), OpenData, []string{"f"})
		file := filepath.Join(t.TempDir(), "a.deb")
		if err := os.WriteFile(file, deb, 0o644); err != nil {
			t.Fatal(err)
		}
		base := t.TempDir()
		root := filepath.Join(base, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(t.Context(), []string{file}, root, Options{SkipOwners: true})
		if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
			t.Errorf("next to root: %v, %v", entries, err)
		}
	})
}
