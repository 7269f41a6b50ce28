// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Step is one action on the root file system. It is data: its exported fields hold everything that can change
// its result, so its JSON is its identity.
type Step interface {
	// Kind names the action: "debootstrap", "apt.install", "network". It never changes between releases.
	Kind() string
	// Title returns the line that is shown while it runs.
	Title() string
	// Kept reports whether a snapshot of its result is made, as for steps that take long.
	Kept() bool
	// LayerTitle returns the title of the container image layer that ends with it, or "" if it shares a layer with
	// later steps.
	LayerTitle(codename string) string
	// Installs reports whether it installs packages of the mirror.
	Installs() bool
	// Changed describes a change of an input, by its name in JSON, for messages: "its text changed". The name of
	// inputs that JSON hides is "". It returns "" if the old and the new value say enough.
	Changed(input string) string
	// Run carries out the action.
	Run(ctx context.Context, s *Context) error
}

// base has the methods of a step whose result is not kept.
type base struct{}

func (base) Kept() bool               { return false }
func (base) LayerTitle(string) string { return "" }
func (base) Installs() bool           { return false }
func (base) Changed(string) string    { return "" }

// Error is the failure of a step. Output has the last lines that its programs printed.
type Error struct {
	Step   Step
	Output string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Step.Title(), e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Context is the environment of a step: the target, the toolbox, and directories and settings of the host.
type Context struct {
	Target  target.Rootfs
	Toolbox target.Target
	// FreshToolbox returns a toolbox in which nothing has run yet, for a single program. The files that the program
	// leaves there are in no snapshot, so other programs must not see them.
	FreshToolbox func(ctx context.Context) (target.Rootfs, error)
	// Archives is a directory of .deb files that is mounted over /var/cache/apt/archives while apt runs.
	Archives string
	// Derived is a directory of what is derived from these files, see dpkg.DerivedDir.
	Derived string
	// WaitForPackages waits until the packages that the build expects are in Archives; nil if they are there. Debootstrap
	// begins when its own are there.
	WaitForPackages func(ctx context.Context) error
	// WaitForIndexes waits until the indexes of kernels' modules are in Derived; nil if there will be none.
	WaitForIndexes func(ctx context.Context) error
	// Installed is called when AptInstall has installed packages; nil for nothing.
	Installed func(ctx context.Context)
	// Access is how apt and hooks reach the mirror.
	Access Access
	// Mirror is a directory of the mirror's files, named by wget.FileName, which debootstrap uses in place of the mirror.
	Mirror string
	// Lists is a directory of the files of the suites of Upgrade, in subdirectories 0, 1 and so on, and of the suite of
	// Architectures, in MainLists.
	Lists string
	// Program is the file of this very program, which does the work of others in the toolbox under their names.
	Program string
	// RealDpkg leaves all unpacking to the real dpkg.
	RealDpkg bool
	// KeepIdentity leaves the keys of packages in the target, see RemoveMachineKeys.
	KeepIdentity bool
	// Proxy is the caller's http_proxy and the like, as NAME=VALUE.
	Proxy []string
	// Environ and Dir are the environment and the working directory of the caller, which hooks see.
	Environ []string
	Dir     string
	// Keyring, if set, is a file of the host to use instead of the toolbox's Debian archive keyring.
	Keyring string
	// Tmp is a directory of the host for files that are mounted while one program runs.
	Tmp string
	// Resolver is the host's resolv.conf, which the target must not keep.
	Resolver []byte
	// Epoch is SOURCE_DATE_EPOCH=SECONDS for the programs of the build, empty if the build is not reproducible.
	Epoch []string
	// Emulator has variables that set the emulator of the target's programs, such as QEMU_CPU; empty for none.
	Emulator []string
	// Seed is the source of the salts of passwords.
	Seed uuid.UUID
	// Stages are the root file systems of stages of Containerfiles, by their IDs, see StageUser.
	Stages map[string]target.Target
	// Bases are the root file systems that stages begin with, by their digests, see ContainerBase.
	Bases map[string]diskimage.Tree
	// CacheMount returns a directory that a program keeps files in for later runs, by its name. keep saves what is in it.
	CacheMount func(ctx context.Context, id string) (c target.Rootfs, keep func() error, err error)
	// Outputs caches the outputs of programs; nil for no cache.
	Outputs OutputCache
	Log     *slog.Logger
	Out     *Tail
	// HookOutput receives what the user's own programs print, beside Out; nil for nothing.
	HookOutput io.Writer
}

// OutputCache keeps the outputs of programs for later builds.
type OutputCache interface {
	// Make calls run to make the outputs in the target, or uses those of an earlier run with the same inputs.
	Make(ctx context.Context, t target.Target, o Output, run func() error) error
}

// Output describes the files that a program makes from files of the target.
type Output struct {
	// Kind and Title are those of the step.
	Kind, Title string
	// Program identifies the program and its arguments. Outputs are reused only for the same Program.
	Program string
	// InputDirs lists directories whose files are inputs even if no program opens them.
	InputDirs []string
	// KeyFiles lists files by whose contents outputs are found, see snapshot.Outputs.
	KeyFiles []string
	// OutputDirs lists the directories that may contain outputs.
	OutputDirs []string
	// Mentions reports whether the output with that name contains one of the random IDs of the image.
	Mentions func(name string, data []byte, ids []string) bool
	// Ignored reports whether a file makes no difference to the outputs of an early run, see snapshot.Outputs.
	Ignored func(name string) bool
}

// TargetDir is the mount point of the target inside the toolbox.
const TargetDir = "/target"

// archivesDir is apt's directory of downloaded packages.
const archivesDir = "/var/cache/apt/archives"

// BaseEnv is the environment of every program of a build, without variables of the caller.
var BaseEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"TERM=dumb",
	"LC_ALL=C.UTF-8",
	"DEBIAN_FRONTEND=noninteractive",
	"DEBCONF_NONINTERACTIVE_SEEN=true",
}

// Command returns a process for a program with its arguments, to run in the root directory, and logs them. Secrets are
// never arguments, but for the credentials of URLs, which the log does not get.
func (s *Context) Command(args ...string) *specs.Process {
	if s.Log != nil {
		s.Log.Debug("run", slog.String("command", s.Out.hide.Replace(strings.Join(args, " "))))
	}
	return &specs.Process{Args: args, Cwd: "/", Env: slices.Concat(BaseEnv, s.Proxy, s.Epoch, s.Emulator)}
}

// inFreshToolbox runs a program in a toolbox of its own after calling prepare.
func (s *Context) inFreshToolbox(ctx context.Context, p *specs.Process, mounts []specs.Mount,
	prepare func(target.Target) error) (err error) {
	toolbox, err := s.FreshToolbox(ctx)
	if err != nil {
		return fmt.Errorf("make a toolbox: %w", err)
	}
	defer func() { err = errors.Join(err, toolbox.Close()) }()
	if err := prepare(toolbox); err != nil {
		return err
	}
	return toolbox.Run(ctx, p, mounts, strings.NewReader(""), s.Out)
}

// inTarget runs a program of the target.
func (s *Context) inTarget(ctx context.Context, args ...string) error {
	return s.InTargetWith(ctx, nil, "", args...)
}

// InTargetWith runs a program of the target with additional mounts and a text on its standard input.
func (s *Context) InTargetWith(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) error {
	return s.Target.Run(ctx, s.Command(args...), mounts, strings.NewReader(stdin), s.Out)
}

// Tail writes the output of programs to another writer, line by line, and keeps the last lines.
type Tail struct {
	w     io.Writer
	also  io.Writer // see ShowOn
	hide  *strings.Replacer
	lines []string
	part  []byte
}

// TailLines is the number of output lines shown when a program fails: enough for dpkg's summary and the cause above it.
const TailLines = 25

// NewTail returns a Tail that writes to w, if not nil, and hides the credentials of the URLs.
func NewTail(w io.Writer, urls ...secret.URL) *Tail { return &Tail{w: w, hide: secret.Hider(urls...)} }

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	for rest := p; ; {
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		t.part = append(t.part, line...)
		if !complete {
			return len(p), nil
		}
		if err := t.end(); err != nil {
			return 0, err
		}
		rest = after
	}
}

// end completes a line.
func (t *Tail) end() error {
	line := t.hide.Replace(string(t.part))
	t.part = t.part[:0]
	if t.lines = append(t.lines, line); len(t.lines) > TailLines {
		t.lines = t.lines[1:]
	}
	for _, w := range []io.Writer{t.w, t.also} {
		if w == nil {
			continue
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// ShowOn writes the lines to w as well until the next Reset. A nil w shows nothing.
func (t *Tail) ShowOn(w io.Writer) { t.also = w }

// Unshown returns what String does, but only an incomplete line if a user has seen the others.
func (t *Tail) Unshown() string {
	if t.also != nil {
		return t.hide.Replace(string(t.part))
	}
	return t.String()
}

// Reset discards the lines.
func (t *Tail) Reset() { t.lines, t.part, t.also = nil, t.part[:0], nil }

// String returns the last lines.
func (t *Tail) String() string {
	lines := t.lines
	if len(t.part) > 0 {
		lines = append(lines[:len(lines):len(lines)], t.hide.Replace(string(t.part)))
	}
	return strings.Join(lines, "\n")
}

// systemUnits is the directory of the units of a system that are not of its packages, see systemd.unit(5).
const systemUnits = "/etc/systemd/system/"

// machineIDName is the file of machine-id(5), and uninitialized its content before a first boot.
const (
	machineIDName = "/etc/machine-id"
	uninitialized = "uninitialized\n"
)

// service is a program of a step that systemd starts: its file, that of its unit, and the link that enables it.
type service struct{ program, unit, wanted string }

// write writes the files, with the texts of the program and of the unit.
func (s service) write(f target.Files, program, unit string) error {
	if err := target.WriteFileIn(f, s.program, program, 0o755); err != nil {
		return err
	}
	if err := target.WriteFileIn(f, s.unit, unit, 0o644); err != nil {
		return err
	}
	if err := f.MkdirAll(path.Dir(s.wanted), 0o755); err != nil {
		return err
	}
	return f.Symlink("../"+path.Base(s.unit), s.wanted)
}
