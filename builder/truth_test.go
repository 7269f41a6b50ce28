// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/pkgdetails"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// hostEngine has root file systems that are directories of the test, and runs hooks with the machine's own
// shell: what it is told of files is what inotify(7) tells.
type hostEngine struct {
	snapshottest.Engine
	t     *testing.T
	store string
	// onRun is called before a hook runs.
	onRun func()
}

func newHostEngine(t *testing.T) *hostEngine {
	e := &hostEngine{t: t, store: t.TempDir()}
	root, err := e.Scratch(t.Context())
	if err == nil {
		err = errors.Join(root.MkdirAll(path.Dir(pkgdetails.FunctionsPath), 0o755),
			root.WriteFile(pkgdetails.FunctionsPath, nil, 0o644), root.Snapshot(t.Context(), "toolbox", nil))
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// skeleton is what debootstrap makes here.
var skeleton = map[string]string{
	"/etc/apt/": "", "/usr/sbin/": "", "/root/": "", "/run/": "",
	"/usr/lib/systemd/system/systemd-networkd.service": "",
	"/usr/lib/systemd/system/systemd-resolved.service": "",
}

func (e *hostEngine) Scratch(context.Context) (Rootfs, error) {
	return &hostRootfs{targettest.New(e.t, skeleton), e}, nil
}

func (e *hostEngine) place(name string) string { return filepath.Join(e.store, filepath.Base(name)) }

func (e *hostEngine) From(_ context.Context, name string) (Rootfs, error) {
	if _, err := os.Stat(e.place(name)); err != nil {
		return nil, err
	}
	f := targettest.New(e.t, nil)
	return &hostRootfs{f, e}, copyTree(e.place(name), f.Dir)
}

// hostRootfs is a root file system of a hostEngine.
type hostRootfs struct {
	*targettest.Target
	engine *hostEngine
}

func (r *hostRootfs) Snapshot(_ context.Context, name string, labels map[string]string) error {
	r.engine.All = slices.DeleteFunc(r.engine.All, func(s types.Snapshot) bool { return s.Name == name })
	r.engine.All = slices.Insert(r.engine.All, 0, types.Snapshot{Name: name, Labels: labels})
	place := r.engine.place(name)
	return errors.Join(os.RemoveAll(place), os.Mkdir(place, 0o755), copyTree(r.Dir, place))
}

func (r *hostRootfs) Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader,
	out io.Writer) error {
	host := map[string]string{}
	for _, m := range mounts {
		host[m.Destination] = m.Source
	}
	args, dir := p.Args, r.Dir
	switch script, isHook := host[p.Args[0]]; {
	case isHook: // a hook in the toolbox
		if r.engine.onRun != nil {
			r.engine.onRun()
		}
		args, dir = []string{script, host[step.TargetDir]}, p.Cwd
	case p.Args[0] == "debootstrap" && host[step.DefaultScripts] != "":
		return copyTree(host[step.DefaultScripts], filepath.Join(host[step.TargetDir], "root"))
	case p.Args[0] != "sh": // a program of Debian
		return nil
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, in, out, out
	cmd.Env = append(slices.Clone(p.Env), "TOOLBOX="+r.Dir)
	return cmd.Run()
}

// copyTree copies what is in a directory to another one.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// truth is a machine on which builds run: a working directory with hooks, and an environment.
type truth struct {
	t       *testing.T
	dir     string
	environ []string
	options func(*Options)
	// changing is called when the inputs have been taken.
	changing func()
	ours     []string
	records  string
}

func newTruth(t *testing.T, files map[string]string) *truth {
	t.Helper()
	tr := &truth{t: t, dir: t.TempDir(), environ: []string{"GREETING=hello"}, options: func(*Options) {},
		records: t.TempDir()}
	for name, text := range files {
		tr.write(name, text)
	}
	return tr
}

func (tr *truth) name(name string) string { return filepath.Join(tr.dir, name) }

// write makes a file of the working directory; "-> TEXT" is a symbolic link. It keeps the time of a file that
// was there: times are no inputs.
func (tr *truth) write(name, text string) {
	tr.t.Helper()
	name = tr.name(name)
	then := time.Unix(1_700_000_000, 0)
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.RemoveAll(name))
	if link, ok := strings.CutPrefix(text, "-> "); ok {
		err = errors.Join(err, os.Symlink(link, name))
	} else {
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		err = errors.Join(err, os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode),
			os.Chtimes(name, then, then))
	}
	if err != nil {
		tr.t.Fatal(err)
	}
}

// build makes a root file system and returns its files, and what is said of the cache.
func (tr *truth) build(e *hostEngine) (files map[string]string, said string) {
	t := tr.t
	t.Helper()
	o := DefaultOptions()
	o.Tarball, o.Mirror, o.Arch, o.NoKernel = "/out/root.tar", secret.NewURL("http://build.example/debian"),
		"amd64", true
	o.UpdateInitramfs, o.LockRootPassword = false, true
	o.Actions = []Action{Script("./hook")}
	tr.options(&o)
	spec, err := NewSpec(o, World{Stat: func(name string) (fs.FileInfo, error) {
		if name == "/out" {
			name = tr.dir
		}
		return os.Stat(name)
	}, Dir: tr.dir, Today: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), HostArch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	lock := Lock{Codename: "trixie", InRelease: "aa", Tools: "bb", Seed: uuid.Max}
	tmp := t.TempDir()
	if err := lock.Take(t.Context(), spec, filepath.Join(tmp, "inputs"), nil); err != nil {
		t.Fatal(err)
	}
	if tr.changing != nil {
		tr.changing()
	}
	var lines []string
	x := &Executor{
		Engine: e, TempDir: tmp, Environ: tr.environ, Dir: tr.dir, Log: slog.New(slog.DiscardHandler),
		Cache: snapshot.Settings{Ours: tr.ours, Records: tr.records, Now: time.Now,
			Explain: func(text string) { lines = append(lines, text) }},
	}
	plan, err := NewPlan(spec, lock)
	if err != nil {
		t.Fatal(err)
	}
	store, steps := x.snapshots("toolbox", spec.hookScripts(), lock), snapshotSteps(plan.identities)
	begin, rootfs, err := store.Begin(t.Context(), steps)
	if err != nil {
		t.Fatal(err)
	}
	n := len(begin.Entries)
	toolbox, err := e.From(t.Context(), "toolbox")
	if err != nil {
		t.Fatal(err)
	}
	s := &step.Context{
		Target: rootfs, Toolbox: toolbox, Archives: t.TempDir(), Environ: tr.environ, Dir: tr.dir, Tmp: tmp, Log: x.Log,
		Out:          step.NewTail(nil),
		FreshToolbox: func(ctx context.Context) (Rootfs, error) { return e.From(ctx, "toolbox") },
	}
	chain := store.Resume(begin, rootfs, lock.Seed)
	if err = x.runSteps(t.Context(), plan.Steps[n:], steps[n:], chain, s, nil, nil); err != nil {
		t.Fatalf("%v\n%s", err, s.Out)
	}
	return treeOf(t, rootfs.Root()), strings.Join(lines, "\n")
}

// treeOf tells of all files in a directory what an image records, but for times.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case info.Mode().IsRegular():
			var data []byte
			data, err = os.ReadFile(name)
			text = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err = os.Readlink(name)
		}
		files[strings.TrimPrefix(name, root)] = fmt.Sprintf("%s %q", info.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// check builds on a store that has earlier results and on an empty one, and wants the same.
func (tr *truth) check(e *hostEngine) (files map[string]string, said string) {
	tr.t.Helper()
	cached, said := tr.build(e)
	want, _ := tr.build(newHostEngine(tr.t))
	if !maps.Equal(cached, want) {
		for name := range maps.Keys(merged(cached, want)) {
			if cached[name] != want[name] {
				tr.t.Errorf("%s is %s with the cache and %s without it; the cache says:\n%s", name, cached[name],
					want[name], said)
			}
		}
	}
	return cached, said
}

func merged(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

const shell = "#!/bin/sh\nset -e\n"

// TestNothingStaleComesOutOfTheCache holds the table of issue 12: build, change one thing, build again.
func TestNothingStaleComesOutOfTheCache(t *testing.T) {
	t.Parallel()
	hook := func(text string) map[string]string { return map[string]string{"hook": shell + text} }
	with := func(files map[string]string, more ...string) map[string]string {
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	variable := func(kv string) func(*truth) {
		return func(tr *truth) { tr.environ = append(slices.Clone(tr.environ), kv) }
	}
	copyIn := func(text string) func(*truth) {
		return func(tr *truth) {
			tr.options = func(o *Options) {
				action, _ := ParseAction("--copy-in", tr.name("")+"/"+text)
				o.Actions = append([]Action{action}, o.Actions...)
			}
		}
	}
	for name, tt := range map[string]struct {
		files  map[string]string
		first  func(*truth)
		change func(*truth)
		why    string // in what is said
	}{
		"a copied file under another name": {
			with(hook(":"), "a.conf", "text", "b.conf", "text"), copyIn("a.conf:/etc/"), copyIn("b.conf:/etc/"),
			`Name was "a.conf" and is "b.conf"`},
		"the text of a link": {
			with(hook(`cp -a sub "$1/srv"`), "sub/link", "-> aa"), nil,
			func(tr *truth) { tr.write("sub/link", "-> bb") }, "sub/link has changed"},
		"the mode of a directory": {
			with(hook(`cp -a sub "$1/srv"`), "sub/x", "x"), nil, func(tr *truth) { tr.chmod("sub", 0o700) },
			"sub has changed"},
		"the mode of a file that is not opened": {
			with(hook(`[ ! -x data ] || touch "$1/executable"`), "data", "x"), nil,
			func(tr *truth) { tr.chmod("data", 0o755) }, "data has changed"},
		"a link that leads elsewhere": {
			with(hook(`cat current >"$1/etc/version"`), "v1", "one", "v2", "two", "current", "-> v1"), nil,
			func(tr *truth) { tr.write("current", "-> v2") }, "current has changed"},
		"a file that is looked for": {
			hook(`[ ! -e enable-debug ] || touch "$1/debug"`), nil, func(tr *truth) { tr.write("enable-debug", "") },
			"enable-debug has changed"},
		"a file that is read if it is there": {
			hook(`A=1; [ ! -f local.conf ] || . ./local.conf; echo $A >"$1/etc/a"`), nil,
			func(tr *truth) { tr.write("local.conf", "A=2\n") }, "local.conf has changed"},
		"a size": {
			with(hook(`stat -c %s data >"$1/etc/size"`), "data", "1"), nil, func(tr *truth) { tr.write("data", "22") },
			"data has changed"},
		"a content of the same size and time": {
			with(hook(`cp data "$1/etc/data"`), "data", "1"), nil, func(tr *truth) { tr.write("data", "2") },
			"data has changed"},
		"a variable of the environment as a whole": {
			hook(`env | grep ^FLAVO >"$1/etc/env" || :`), nil, variable("FLAVOUR=sweet"), "the environment: FLAVOUR"},
		"the time zone": {hook(`date -d @0 +%H >"$1/etc/hour"`), nil, variable("TZ=XYZ-5"), "the environment: TZ"},
		"a variable that a script in the target uses": {
			with(hook(`sh "$1/root/setup.sh" >"$1/etc/setup"`), "setup.sh", "echo $VERSION"), copyIn("setup.sh:/root/"),
			func(tr *truth) { copyIn("setup.sh:/root/")(tr); variable("VERSION=2")(tr) }, "the environment: VERSION"},
		"a variable that a command's script uses": {
			with(hook(":"), "setup.sh", "echo $VERSION >etc/version"), runSetup,
			func(tr *truth) { variable("VERSION=2")(tr) }, "the environment: VERSION"},
		"a script of debootstrap below a link": {
			with(hook(":"), "real/stable", "one", "scripts", "-> real"), scripts,
			func(tr *truth) { tr.write("real/stable", "two") }, "ScriptsDigest was"},
		"what another hook left in the toolbox": {
			with(hook(`echo left >"$TOOLBOX/left"`), "second", shell+`cat "$TOOLBOX/left" >"$1/etc/left" || :`),
			twoHooks,
			func(tr *truth) { tr.write("second", shell+`cp "$TOOLBOX/left" "$1/etc/left2" || :`) },
			"its content changed"},
		"a file below a link to the working directory": {
			with(hook(`cp data "$1/etc/data"`), "data", "1"), throughLink, func(tr *truth) { tr.write("data", "2") },
			"data has changed"},
		"the name of the hook": {
			with(hook(`basename "$0" >"$1/etc/name"`), "other", "-> hook"), nil,
			func(tr *truth) { tr.options = func(o *Options) { o.Actions = []Action{Script("./other")} } },
			`Name was "hook" and is "other"`},
		"a file that is not ignored any more": {
			with(hook(`cat data >"$1/etc/data"`), "data", "1", snapshot.IgnoreName, "data\n"), nil,
			func(tr *truth) { tr.write(snapshot.IgnoreName, "dada\n"); tr.write("data", "2") },
			"/data has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, e := newTruth(t, tt.files), newHostEngine(t)
			if tt.first != nil {
				tt.first(tr)
			}
			before, _ := tr.check(e)
			if again, said := tr.build(e); !maps.Equal(before, again) || strings.Contains(said, "run: ") {
				t.Errorf("the same build again runs something:\n%s", said)
			}
			tt.change(tr)
			if _, said := tr.check(e); !strings.Contains(said, tt.why) {
				t.Errorf("said %q, want %q in it", said, tt.why)
			}
		})
	}
}

func (tr *truth) chmod(name string, mode fs.FileMode) {
	if err := os.Chmod(tr.name(name), mode); err != nil {
		tr.t.Fatal(err)
	}
}

// runSetup copies a script into the target and runs it there.
func runSetup(tr *truth) {
	tr.options = func(o *Options) {
		copied, _ := ParseAction("--copy-in", tr.name("setup.sh")+":/root/")
		command, _ := ParseAction("--run", "sh root/setup.sh")
		o.Actions = []Action{copied, command}
	}
}

func scripts(tr *truth) {
	tr.options = func(o *Options) { o.DebootstrapScripts = tr.name("scripts") }
}

func twoHooks(tr *truth) {
	tr.options = func(o *Options) { o.Actions = []Action{Script("./hook"), Script("./second")} }
}

// throughLink has the working directory called by a name that is a symbolic link.
func throughLink(tr *truth) {
	link := filepath.Join(tr.t.TempDir(), "link")
	if err := os.Symlink(tr.dir, link); err != nil {
		tr.t.Fatal(err)
	}
	tr.dir = link
}

// TestInputsAreTakenOnce changes files when their digests are known, and puts them back afterwards.
func TestInputsAreTakenOnce(t *testing.T) {
	t.Parallel()
	deb, err := archivetest.Deb{Name: "x"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"hook": shell + `echo one >"$1/etc/hook"`, "data": "one", "tree/data": "one",
		"x.deb": string(deb) + "one"}
	tr, e := newTruth(t, files), newHostEngine(t)
	tr.options = func(o *Options) {
		for _, text := range []string{"data:/etc/", "tree:/srv/"} {
			action, _ := ParseAction("--copy-in", tr.name("")+"/"+text)
			o.Actions = append(o.Actions, action)
		}
		o.CustomPackages = []string{tr.name("x.deb")}
	}
	tr.changing = func() {
		for name, text := range files {
			tr.write(name, strings.ReplaceAll(text, "one", "two"))
		}
	}
	got, _ := tr.build(e)
	for _, name := range []string{"/etc/hook", "/etc/data", "/srv/tree/data"} {
		if strings.Contains(got[name], "two") {
			t.Errorf("%s is %s: it was changed after its digest was known", name, got[name])
		}
	}
	tr.changing = nil
	for name, text := range files {
		tr.write(name, text)
	}
	tr.check(e)
}

// TestFreshCheckoutsShareResults: neither the place nor the times of files are inputs.
func TestFreshCheckoutsShareResults(t *testing.T) {
	t.Parallel()
	files := map[string]string{"hook": shell + `cp -r sub "$1/srv"`, "sub/data": "data", "sub/link": "-> data"}
	e := newHostEngine(t)
	newTruth(t, files).build(e)
	tr := newTruth(t, files)
	now := time.Unix(1_800_000_000, 0)
	if err := os.Chtimes(tr.name("sub/data"), now, now); err != nil {
		t.Fatal(err)
	}
	if _, said := tr.check(e); strings.Contains(said, "run: ") {
		t.Errorf("another checkout of the same files runs something:\n%s", said)
	}
}

func TestWhatIsNoInputDoesNotMatter(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"hook": shell + `cp data "$1/etc/data"; date +%N >>cache/log`, "data": "data", "cache/log": "",
		snapshot.IgnoreName: "# a comment\ncache/\n*.img\n!small.img\n",
		"small.img":         "x",
	}
	tr, e := newTruth(t, files), newHostEngine(t)
	tr.ours = []string{tr.name("root.tar"), tr.name("state"), tr.name("our.log")}
	tr.build(e)
	for name, text := range map[string]string{
		"cache/more": "x", "deep/cache/x": "x", "big.img": "x", "root.tar": "x", "state/x": "x", "our.log": "x",
	} {
		tr.write(name, text)
	}
	if err := os.Rename(tr.name("deep"), tr.name("cache/deep")); err != nil {
		t.Fatal(err)
	}
	if _, said := tr.build(e); strings.Contains(said, "run: ") {
		t.Errorf("what is no input makes something run:\n%s", said)
	}
	tr.write("small.img", "xx")
	if _, said := tr.build(e); !strings.Contains(said,
		tr.name("small.img")+" has changed (list files that are not inputs in "+tr.name(snapshot.IgnoreName)+")") {
		t.Errorf("what counts again is not told:\n%s", said)
	}
}

// TestHooksThatCannotBeRepeatedAreNotKept says so, too.
func TestHooksThatCannotBeRepeatedAreNotKept(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`echo x >new`: "/new was changed while it ran", `echo x >>data`: "/data was changed while it ran",
		`exec 3<>pipe`: "/pipe, which is not a regular file",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			tr, e := newTruth(t, map[string]string{"hook": shell + text, "data": "x"}), newHostEngine(t)
			if strings.Contains(text, "pipe") {
				if out, err := exec.Command("mkfifo", tr.name("pipe")).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if _, said := tr.build(e); !strings.Contains(said, "not kept: customize with "+tr.name("hook")) ||
				!strings.Contains(said, want) {
				t.Errorf("said %q, want %q", said, want)
			}
			if _, said := tr.build(e); !strings.Contains(said, "run: customize") {
				t.Errorf("its result was kept:\n%s", said)
			}
		})
	}
}

// TestFilesWithoutNamesAreNotSeenByHooks: another process writes to a file in their directory that has no name yet, as
// a build of another image does, and then to one that got its name before.
func TestFilesWithoutNamesAreNotSeenByHooks(t *testing.T) {
	t.Parallel()
	for what, prepare := range map[string]func(tr *truth, f *os.File){
		"unnamed": func(*truth, *os.File) {},
		"named": func(tr *truth, f *os.File) {
			from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
			if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, tr.name("log"), unix.AT_SYMLINK_FOLLOW); err != nil {
				tr.t.Fatal(err)
			}
		},
		"named like one": func(tr *truth, f *os.File) {
			var st unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &st); err != nil {
				tr.t.Fatal(err)
			}
			name := tr.name(fmt.Sprintf("#%d", st.Ino))
			other, err := os.Create(name)
			if err != nil {
				tr.t.Fatal(err)
			}
			if err := errors.Join(unix.Dup2(int(other.Fd()), int(f.Fd())), other.Close()); err != nil {
				tr.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tr, e := newTruth(t, map[string]string{"hook": shell + `echo x >"$1/etc/data"`}), newHostEngine(t)
			fd, err := unix.Open(tr.name("."), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), "unnamed")
			defer f.Close()
			prepare(tr, f)
			// Only the kernel's event tells of this change: it keeps size and times.
			write := func(text string) {
				_, err := f.WriteAt([]byte(text), 0)
				if err := errors.Join(err, unix.Futimes(fd, make([]unix.Timeval, 2))); err != nil {
					t.Error(err)
				}
			}
			write("1")
			e.onRun = func() { write("2") }
			if _, said := tr.build(e); strings.Contains(said, "not kept") != (what != "unnamed") {
				t.Errorf("said %q", said)
			}
		})
	}
}

// TestFilesThatChangeWhileAHookRunsMakeItRunAgain: somebody else's change, also one without an event.
func TestFilesThatChangeWhileAHookRunsMakeItRunAgain(t *testing.T) {
	t.Parallel()
	tr, e := newTruth(t, map[string]string{"hook": shell + `cp data "$1/etc/data"`, "data": "1"}), newHostEngine(t)
	var once sync.Once
	e.onRun = func() { once.Do(func() { tr.write("data", "2") }) }
	if _, said := tr.build(e); !strings.Contains(said, "data was changed while it ran") {
		t.Errorf("said %q", said)
	}
	e.onRun = nil
	tr.check(e)
}
