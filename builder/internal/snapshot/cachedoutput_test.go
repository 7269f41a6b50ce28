// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// outputEngine keeps the snapshots of the targets that it makes.
type outputEngine struct {
	snapshottest.Engine
	t    *testing.T
	kept map[string]*targettest.Target
}

type outputTarget struct {
	*targettest.Target
	engine *outputEngine
}

func (e *outputEngine) Scratch(context.Context) (target.Rootfs, error) {
	return outputTarget{targettest.New(e.t, nil), e}, nil
}

func (e *outputEngine) From(_ context.Context, name string) (target.Rootfs, error) {
	kept, ok := e.kept[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return kept, nil
}

func (e *outputEngine) InspectImage(context.Context, types.ImageSource) (types.RemoteImage, error) {
	return types.RemoteImage{}, fs.ErrNotExist
}

func (a outputTarget) Snapshot(_ context.Context, name string, labels map[string]string) error {
	a.engine.kept[name] = a.Target
	a.engine.All = slices.DeleteFunc(a.engine.All, func(s types.Snapshot) bool { return s.Name == name })
	a.engine.All = append(a.engine.All, types.Snapshot{Name: name, Labels: labels})
	return nil
}

// initramfsTarget returns a system whose update-initramfs reads some files and writes an initramfs of them.
func initramfsTarget(t *testing.T) *targettest.Target {
	t.Helper()
	f := targettest.New(t, map[string]string{
		dpkgStatus: "Package: initramfs-tools\n", "/boot/vmlinuz-6.1": "", "/var/lib/initramfs-tools/": "",
		"/var/tmp/":             "",
		"/usr/sbin/mkinitramfs": "", "/usr/sbin/update-initramfs": "",
		"/etc/initramfs-tools/initramfs.conf": "MODULES=most\n# MODULES=dep\n",
		"/etc/initramfs-tools/scripts/":       "", "/etc/fstab": "UUID=1111-2222 / ext4\n", "/etc/motd": "hello",
		"/lib/modules/a.ko": "a",
	})
	f.On = func(args []string, _ io.Writer) error {
		if args[0] != "update-initramfs" {
			return nil
		}
		text := cpioFile("")
		for _, name := range []string{"/etc/initramfs-tools/initramfs.conf", "/etc/fstab", "/lib/modules/a.ko"} {
			data, err := f.ReadFile(name)
			if err != nil {
				return err
			}
			if !strings.HasSuffix(name, "fstab") || bytes.Contains(data, []byte("swap")) {
				text += cpioFile(string(data))
			}
		}
		for _, err := range []error{
			os.WriteFile(f.Path("/var/tmp/work"), nil, 0o600), os.Remove(f.Path("/var/tmp/work")),
			os.WriteFile(f.Path("/boot/initrd.img-6.1.new"), []byte(text+cpioFile("TRAILER!!!")), 0o644),
			os.Rename(f.Path("/boot/initrd.img-6.1.new"), f.Path("/boot/initrd.img-6.1")),
		} {
			if err != nil {
				return err
			}
		}
		return os.WriteFile(f.Path("/var/lib/initramfs-tools/6.1"), []byte("sum"), 0o640)
	}
	return f
}

// cpioFile returns a file of an archive, with its name as its content.
func cpioFile(text string) string {
	fields := make([]string, 13)
	for i := range fields {
		fields[i] = "00000000"
	}
	fields[11] = fmt.Sprintf("%08x", len(text)+1)
	file := "070701" + strings.Join(fields, "") + text + "\x00"
	return file + strings.Repeat("\x00", -len(file)&3)
}

// initramfsChain returns the chain of a build of an image with an ID.
func initramfsChain(t *testing.T, e Engine) *Chain {
	t.Helper()
	store := New(Config{Engine: e, TempDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	return &Chain{store: store, IDs: []string{"1111-2222"}}
}

// stepOutputs is a chain in the form that steps use.
type stepOutputs struct{ chain *Chain }

func (o stepOutputs) Make(ctx context.Context, _ target.Target, of step.Output, run func() error) error {
	return o.chain.MakeOutputs(ctx, Outputs(of), run)
}

// makeInitramfs runs the step as a build does, and reports whether the program ran and what was explained.
func makeInitramfs(t *testing.T, f *targettest.Target, c *Chain) (ran bool, why string) {
	t.Helper()
	return makeInitramfsOf(t, f, c, nil)
}

// makeInitramfsOf is makeInitramfs for a target with these origins.
func makeInitramfsOf(t *testing.T, f *targettest.Target, c *Chain, o origins) (ran bool, why string) {
	t.Helper()
	c.store.Settings.Explain = func(text string) { why = text }
	c.target, c.origins = f, o
	f.Transcript = nil
	if err := (step.Initramfs{}).Run(t.Context(), &step.Context{Target: f, Outputs: stepOutputs{c},
		Out: step.NewTail(nil)}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/boot/initrd.img-6.1"); !strings.Contains(got, "MODULES") {
		t.Errorf("the initramfs is %q", got)
	}
	return len(f.Transcript) > 0, why
}

func TestInitramfsIsRemadeOnlyIfInputsChanged(t *testing.T) {
	t.Parallel()
	write := func(name, text string) func(*targettest.Target) error {
		return func(f *targettest.Target) error { return os.WriteFile(f.Path(name), []byte(text), 0o644) }
	}
	for name, tt := range map[string]struct {
		change func(*targettest.Target) error
		ids    []string
		// version is that of the step's code; "" for the first one.
		version string
		why     string // "" if it is not made again
	}{
		"nothing":                 {change: func(*targettest.Target) error { return nil }},
		"a file that nobody read": {change: write("/etc/motd", "other")},
		"a file that was read":    {change: write("/lib/modules/a.ko", "b"), why: "changed since: /lib/modules/a.ko"},
		"its mode": {change: func(
			f *targettest.Target) error {
			return os.Chmod(f.Path("/lib/modules/a.ko"), 0o600)
		},
			why: "changed since: /lib/modules, /lib/modules/a.ko"},
		"a new file beside it": {change: write("/lib/modules/b.ko", "b"), why: "changed since: /lib/modules"},
		"a removed file beside": {change: func(f *targettest.Target) error { return os.Remove(f.Path("/etc/motd")) },
			why: "changed since: /etc"},
		"a new script": {change: write("/etc/initramfs-tools/scripts/x", ""),
			why: "changed since: /etc/initramfs-tools/scripts"},
		"another package": {change: write(dpkgStatus, "Package: other\n"),
			why: "this version of the program has not run it yet with these packages"},
		"another version of the step": {change: func(*targettest.Target) error { return nil }, version: "v2",
			why: "this version of the program has not run it yet with these packages"},
		"other IDs": {change: write("/etc/fstab", "UUID=3333-4444 / ext4\n"), ids: []string{"3333-4444"}},
		"other IDs and a word": {change: write("/etc/fstab", "UUID=3333-4444 / ext3\n"), ids: []string{"3333-4444"},
			why: "this version of the program has not run it yet with these packages and this /etc/fstab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &outputEngine{t: t, kept: map[string]*targettest.Target{}}
			a := initramfsChain(t, e)
			if ran, _ := makeInitramfs(t, initramfsTarget(t), a); !ran || len(e.kept) != 1 {
				t.Fatalf("the first time, it ran: %v, and %d were kept", ran, len(e.kept))
			}
			f := initramfsTarget(t)
			if err := tt.change(f); err != nil {
				t.Fatal(err)
			}
			if tt.ids != nil {
				a.IDs = tt.ids
			}
			if tt.version != "" {
				a.store.Settings.Version = func(kind string) string { return kind + tt.version }
			}
			ran, why := makeInitramfs(t, f, a)
			if ran != (tt.why != "") || !strings.Contains(why, tt.why) {
				t.Errorf("it ran: %v (%s), want %q", ran, why, tt.why)
			}
			if info, err := f.Lstat("/var/lib/initramfs-tools/6.1"); err != nil || info.Mode() != 0o640 {
				t.Errorf("the other output is %v (%v)", info, err)
			}
			a.store.Settings.Rebuild = true
			if ran, _ := makeInitramfs(t, initramfsTarget(t), a); !ran {
				t.Error("it was taken from the cache against the will of the user")
			}
		})
	}
}

func TestUnreadableInitramfsIsRemade(t *testing.T) {
	t.Parallel()
	for what, damage := range map[string]func(kept *targettest.Target) error{
		"no content": func(kept *targettest.Target) error { return kept.Remove("/0") },
		"content that fails to be read": func(kept *targettest.Target) error {
			return errors.Join(kept.Remove("/1"), kept.MkdirAll("/1", 0o755))
		},
		"no record": func(kept *targettest.Target) error {
			return kept.WriteFile(cachedOutputFile, []byte("{"),
				0o644)
		},
		"a name elsewhere": func(kept *targettest.Target) error {
			return kept.WriteFile(cachedOutputFile,
				[]byte(`{"outputs": [{"name": "/etc/passwd", "mode": 420}]}`), 0o644)
		},
	} {
		e := &outputEngine{t: t, kept: map[string]*targettest.Target{}}
		a := initramfsChain(t, e)
		makeInitramfs(t, initramfsTarget(t), a)
		for _, kept := range e.kept {
			if err := damage(kept); err != nil {
				t.Fatal(err)
			}
		}
		if ran, why := makeInitramfs(t, initramfsTarget(t), a); !ran || !strings.Contains(why, "cannot be read") {
			t.Errorf("%s: it ran: %v (%s)", what, ran, why)
		}
	}
}

func TestInitramfsWithIDsDependsOnThem(t *testing.T) {
	t.Parallel()
	a := initramfsChain(t, &outputEngine{t: t, kept: map[string]*targettest.Target{}})
	for i, tt := range []struct {
		id  string
		ran bool
	}{{"1111-2222", true}, {"1111-2222", false}, {"3333-4444", true}} {
		f := initramfsTarget(t)
		if err := f.WriteFile("/etc/fstab", []byte("UUID="+tt.id+" none swap"), 0o644); err != nil {
			t.Fatal(err)
		}
		a.IDs = []string{tt.id}
		if ran, why := makeInitramfs(t, f, a); ran != tt.ran {
			t.Errorf("run %d: it ran: %v (%s)", i, ran, why)
		}
	}
}

// Issue 15: images with several file systems are built in turns.
func TestInitramfsOfEachFileSystemIsKept(t *testing.T) {
	t.Parallel()
	c := initramfsChain(t, &outputEngine{t: t, kept: map[string]*targettest.Target{}})
	for i, want := range []struct {
		fs  string
		ran bool
	}{{"ext4", true}, {"ext3", true}, {"ext4", false}, {"ext3", false}} {
		f := initramfsTarget(t)
		if err := f.WriteFile("/etc/fstab", []byte("UUID=1111-2222 / "+want.fs+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if ran, why := makeInitramfs(t, f, c); ran != want.ran {
			t.Errorf("run %d, of %s: it ran: %v (%s)", i, want.fs, ran, why)
		}
	}
}

func TestInitramfsIsNotKept(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(f *targettest.Target) error{
		"if it depends on the machine": func(f *targettest.Target) error {
			return f.WriteFile("/etc/initramfs-tools/initramfs.conf", []byte("MODULES=dep\n"), 0o644)
		},
		"if nobody knows the packages": func(f *targettest.Target) error { return f.Remove(dpkgStatus) },
		"if there was one": func(
			f *targettest.Target) error {
			return f.WriteFile("/boot/initrd.img-6.1", []byte("MODULES"), 0o644)
		},
		"if the program writes elsewhere": func(f *targettest.Target) error {
			on := f.On
			f.On = func(args []string, out io.Writer) error {
				if err := on(args, out); err != nil {
					return err
				}
				return f.WriteFile("/etc/made", nil, 0o644)
			}
			return nil
		},
		"if the program changes a file": func(f *targettest.Target) error {
			on := f.On
			f.On = func(args []string, out io.Writer) error {
				if err := on(args, out); err != nil {
					return err
				}
				return os.Chmod(f.Path("/etc/motd"), 0o600)
			}
			return nil
		},
	} {
		f, e := initramfsTarget(t), &outputEngine{t: t, kept: map[string]*targettest.Target{}}
		if err := prepare(f); err != nil {
			t.Fatal(err)
		}
		if ran, _ := makeInitramfs(t, f, initramfsChain(t, e)); !ran || len(e.kept) > 0 {
			t.Errorf("%s: it ran: %v, and %d were kept", name, ran, len(e.kept))
		}
	}
}

// A hook can change a file and set the time that it had. The target is the same directory in all builds, so that the
// index has the states of its files.
func TestInitramfsIsRemadeIfFileChangesButNotItsSizeAndTime(t *testing.T) {
	t.Parallel()
	e, records := &outputEngine{t: t, kept: map[string]*targettest.Target{}}, t.TempDir()
	f := initramfsTarget(t)
	module := f.Path("/lib/modules/a.ko")
	for i, tt := range []struct {
		content string // what a hook writes; "" for nothing
		why     string // "" if it is not made again
	}{{"", "has not run it yet"}, {"", ""}, {"b", "changed since: /lib/modules/a.ko"}} {
		for _, output := range []string{"/boot/initrd.img-6.1", "/var/lib/initramfs-tools/6.1"} {
			if err := f.Remove(output); err != nil {
				t.Fatal(err)
			}
		}
		if tt.content != "" {
			err := changeKeepingTime(module, func() error { return os.WriteFile(module, []byte(tt.content), 0) })
			if err != nil {
				t.Fatal(err)
			}
		}
		c := initramfsChain(t, e)
		c.IDs, c.index = nil, lateIndex(records)
		ran, why := makeInitramfs(t, f, c)
		if ran != (tt.why != "") || !strings.Contains(why, tt.why) {
			t.Errorf("build %d: it ran: %v (%s), want %q", i, ran, why, tt.why)
		}
		if err := c.index.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(c.index.file); err != nil {
			t.Error(err)
		}
	}
}
