// SPDX-License-Identifier: Apache-2.0

package depmod

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const version = "6.1.0-1-amd64"

// modules is where they are in a root file system.
const modules = "usr/lib/modules/" + version

// system makes a root file system with depmod and a kernel.
func system(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/bin/kmod": "program", "usr/lib/x86_64-linux-gnu/libkmod.so.2.4": "library",
		"usr/lib/depmod.d/ubuntu.conf": "search updates", modules + "/kernel/fs/ext4.ko.xz": "ext4",
		modules + "/kernel/.hidden.ko": "x", modules + "/modules.order": "order", modules + "/modules.builtin": "builtin",
		modules + "/.fresh-install": "", "usr/sbin/none": "",
	} {
		write(t, root, name, text)
	}
	for name, target := range map[string]string{
		"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/sbin", "usr/sbin/depmod": "../bin/kmod",
		"usr/lib/x86_64-linux-gnu/libkmod.so.2": "libkmod.so.2.4", modules + "/build": "/usr/src/linux",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// archive makes an archive of indexes, in a new directory.
func archive(t *testing.T) (dir string) {
	t.Helper()
	root := system(t)
	var b bytes.Buffer
	err := Index(&b, os.DirFS(root), version, func(args ...string) error {
		if got := strings.Join(args, " "); got != "depmod "+version {
			t.Errorf("ran %q", got)
		}
		write(t, root, modules+"/modules.dep", "dependencies")
		write(t, root, modules+"/modules.dep.bin", "\x00")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	write(t, dir, ArchiveName(version), b.String())
	return dir
}

// TestIndexesAreOfWhatIsThere: indexes that were made are taken only if depmod would read the same files.
func TestIndexesAreOfWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := archive(t)
	put := func(name, text string) func(t *testing.T, root string) {
		return func(t *testing.T, root string) { t.Helper(); write(t, root, name, text) }
	}
	remove := func(name string) func(t *testing.T, root string) {
		return func(t *testing.T, root string) {
			t.Helper()
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, root string)
		args   []string
		env    string
		done   bool
	}{
		"the same":                   {done: true},
		"other files":                {change: put(modules+"/kernel/README", "x"), done: true},
		"indexes that are there":     {change: put(modules+"/modules.dep", "old"), done: true},
		"a module changed":           {change: put(modules+"/kernel/fs/ext4.ko.xz", "ext5")},
		"a module more":              {change: put(modules+"/updates/ext4.ko", "ext4")},
		"a module less":              {change: remove(modules + "/kernel/fs/ext4.ko.xz")},
		"the order changed":          {change: put(modules+"/modules.order", "x")},
		"the order gone":             {change: remove(modules + "/modules.order")},
		"a setting":                  {change: put("etc/depmod.d/x.conf", "search x")},
		"a setting of the run time":  {change: put("run/depmod.d/x.conf", "search x")},
		"a setting less":             {change: remove("usr/lib/depmod.d/ubuntu.conf")},
		"another depmod":             {change: put("usr/bin/kmod", "other")},
		"another library":            {change: put("usr/lib/x86_64-linux-gnu/libkmod.so.2.4", "other")},
		"a library gone":             {change: remove("usr/lib/x86_64-linux-gnu/libkmod.so.2.4")},
		"a library before all":       {change: put("etc/ld.so.preload", "/opt/x.so")},
		"a library by a variable":    {env: "LD_PRELOAD=/opt/x.so"},
		"an option":                  {args: []string{"-a", version}},
		"no version":                 {args: []string{}},
		"another version":            {args: []string{"6.2.0"}},
		"a version that is a path":   {args: []string{"../modules/" + version}},
		"a link to a module":         {change: link(modules + "/kernel/x.ko")},
		"a link to modules":          {change: link(modules + "/extra")},
		"a link that depmod ignores": {change: link(modules + "/source"), done: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := system(t)
			if c.change != nil {
				c.change(t, root)
			}
			if c.args == nil {
				c.args = []string{version}
			}
			p := Process{Args: c.args, Environ: []string{c.env}, Stdout: io.Discard, Stderr: io.Discard, Root: root, Dir: dir}
			_, done, err := p.Write()
			if err != nil || done != c.done {
				t.Errorf("indexes are taken: %t, %v; want %t", done, err, c.done)
			}
			text, err := os.ReadFile(filepath.Join(root, modules, "modules.dep"))
			if got := string(text) == "dependencies"; got != c.done {
				t.Errorf("modules.dep is %q, %v", text, err)
			}
		})
	}
}

// link makes a link to a directory.
func link(name string) func(t *testing.T, root string) {
	return func(t *testing.T, root string) {
		t.Helper()
		if err := os.Symlink("/usr/src", filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailuresOfDepmodAreNoIndexes: neither an error of depmod nor one that writes nothing gives an archive.
func TestFailuresOfDepmodAreNoIndexes(t *testing.T) {
	t.Parallel()
	for _, fail := range []error{nil, io.ErrUnexpectedEOF} {
		err := Index(io.Discard, os.DirFS(system(t)), version, func(...string) error { return fail })
		if err == nil {
			t.Errorf("depmod with the error %v gave indexes", fail)
		}
	}
}

// TestDepmodIsHeldWhilePackagesAreConfigured: nothing of it remains.
func TestDepmodIsHeldWhilePackagesAreConfigured(t *testing.T) {
	t.Parallel()
	const program = "/run/program"
	dir := archive(t)
	for name, c := range map[string]struct {
		dir           string
		before, while func(t *testing.T, root string)
		held          bool
		after         string
	}{
		"held":        {dir: dir, held: true, after: "../bin/kmod"},
		"no archives": {dir: t.TempDir(), after: "../bin/kmod"},
		"left by a dpkg that was killed": {dir: dir, held: true, after: "../bin/kmod",
			before: func(t *testing.T, root string) {
				t.Helper()
				if _, err := Hold(root, dir, program); err != nil {
					t.Fatal(err)
				}
			}},
		"another depmod": {dir: dir, after: "busybox", before: relink("busybox")},
		"replaced by a package": {dir: dir, held: true, after: "/bin/kmod",
			while: relink("/bin/kmod")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := system(t)
			if c.before != nil {
				c.before(t, root)
			}
			release, err := Hold(root, c.dir, program)
			if err != nil || (release != nil) != c.held {
				t.Fatalf("held: %t, %v; want %t", release != nil, err, c.held)
			}
			if c.held {
				if target, err := os.Readlink(filepath.Join(root, depmodPath)); target != program {
					t.Errorf("depmod is %q, %v", target, err)
				}
				if c.while != nil {
					c.while(t, root)
				}
				if err := release(); err != nil {
					t.Fatal(err)
				}
			}
			if target, err := os.Readlink(filepath.Join(root, depmodPath)); target != c.after {
				t.Errorf("afterwards depmod is %q, %v; want %q", target, err, c.after)
			}
			entries, err := os.ReadDir(filepath.Join(root, "sbin"))
			if err != nil || len(entries) != 2 {
				t.Errorf("afterwards there are %v, %v", entries, err)
			}
		})
	}
}

// relink makes depmod a link to something else.
func relink(target string) func(t *testing.T, root string) {
	return func(t *testing.T, root string) {
		t.Helper()
		name := filepath.Join(root, depmodPath)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
}
