// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/uuid"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Step is one action on the root file system. It is data: whatever can change its result is in its exported fields,
// so its JSON is its identity.
type Step interface {
	// Kind names the action: "debootstrap", "apt.install", "network". It never changes between releases.
	Kind() string
	// Title is the line that a user reads while it runs.
	Title() string
	// Kept reports whether a snapshot is made of its result: that of a step that takes long is.
	Kept() bool
	// LayerTitle names the layer of a container image that ends with it, "" if it shares one with later steps.
	LayerTitle(codename string) string
	// Installs reports whether it takes packages of the mirror.
	Installs() bool
	// Changed describes a change of one of its inputs, which is named as in its JSON, for people: "its text
	// is another". The inputs that JSON hides are named "". It returns "" if there is nothing better to say
	// than both values.
	Changed(input string) string
	Run(ctx context.Context, s *Context) error
}

// base is a step whose result is not kept; the others say so themselves.
type base struct{}

func (base) Kept() bool               { return false }
func (base) LayerTitle(string) string { return "" }
func (base) Installs() bool           { return false }
func (base) Changed(string) string    { return "" }

// Error says which step failed. Output holds the last lines that its programs printed.
type Error struct {
	Step   Step
	Output string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Step.Title(), e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Context is where a step works: the target, the tools, and what the host lends for the time of the build.
type Context struct {
	Target  target.Rootfs
	Toolbox target.Target
	// FreshToolbox gives another one in which nothing has run, for one program of the user's own: what that
	// leaves there is in no snapshot, and must not be seen by another one.
	FreshToolbox func(ctx context.Context) (target.Rootfs, error)
	// Archives is a directory of .deb files that is mounted over /var/cache/apt/archives while apt runs.
	Archives string
	// Program is the file of this very program, which does the work of others in the toolbox under their names.
	Program string
	// Proxy is the caller's http_proxy and the like, as NAME=VALUE.
	Proxy []string
	// Environ and dir are the caller's environment and working directory, which hooks see.
	Environ []string
	Dir     string
	// Keyring, if set, is a host file that takes the place of the toolbox's Debian archive keyring.
	Keyring string
	// Tmp is a directory of the host for files that are mounted for one run.
	Tmp string
	// Resolver is the host's resolv.conf, which the target must not keep.
	Resolver []byte
	// Epoch is SOURCE_DATE_EPOCH=SECONDS for the programs of the build, empty if the time does not matter.
	Epoch []string
	// Seed is where salts of passwords come from.
	Seed uuid.UUID
	// Outputs are what programs of earlier targets have made; nil if none are known.
	Outputs OutputCache
	Log     *slog.Logger
	Out     *Tail
}

// OutputCache knows what programs of earlier targets have made.
type OutputCache interface {
	// Make has the outputs made in the target by run, or takes those of an earlier run with the same inputs.
	Make(ctx context.Context, t target.Target, o Output, run func() error) error
}

// Output describes what a program makes of files of the target.
type Output struct {
	// Title is that of the step.
	Title string
	// Program tells programs and their arguments apart: outputs of one never take the place of another's.
	Program string
	// Whole are directories whose files are inputs, whether they are opened or not.
	Whole []string
	// Places are the directories that outputs may be in.
	Places []string
	// Mentions reports whether an output of that name holds one of the random ids of the image.
	Mentions func(name string, data []byte, ids []string) bool
}

// TargetDir is where the target is mounted inside the toolbox.
const TargetDir = "/target"

// archivesDir is apt's directory of downloaded packages.
const archivesDir = "/var/cache/apt/archives"

// BaseEnv is what every program of a build sees; nothing of the caller's session comes in.
var BaseEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"TERM=dumb",
	"LC_ALL=C.UTF-8",
	"DEBIAN_FRONTEND=noninteractive",
	"DEBCONF_NONINTERACTIVE_SEEN=true",
}

// Command is a program of the build with its arguments, in its root directory.
func (s *Context) Command(args ...string) *specs.Process {
	return &specs.Process{Args: args, Cwd: "/", Env: slices.Concat(BaseEnv, s.Proxy, s.Epoch)}
}

// inFreshToolbox runs a program in a toolbox of its own, which prepare makes ready for it.
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

// InTargetWith runs a program of the target with more mounts and a text on its standard input.
func (s *Context) InTargetWith(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) error {
	return s.Target.Run(ctx, s.Command(args...), mounts, strings.NewReader(stdin), s.Out)
}

// Tools run programs that make file systems.
func (s *Context) Tools() filesystem.Tools {
	run := func(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) (string, error) {
		s.Out.Reset()
		p := s.Command(args...)
		if len(s.Epoch) > 0 {
			p.Env = append(p.Env, "DETERMINISTIC_SEED=1") // libxfs: inodes get the same generation numbers each time
		}
		if err := s.Toolbox.Run(ctx, p, mounts, strings.NewReader(stdin), s.Out); err != nil {
			return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(s.Out.String()))
		}
		return s.Out.String(), nil
	}
	tree := func(dir string) diskimage.Tree { return target.Tree(s.Toolbox, dir) }
	return filesystem.Tools{Run: run, Tree: tree, TempDir: s.Tmp}
}

// Tail passes what programs print on to a writer, line by line, and remembers the last lines of it.
type Tail struct {
	w     io.Writer
	hide  *strings.Replacer
	lines []string
	part  []byte
}

// TailLines is how much of a program's output is shown when it fails: enough for dpkg's summary and the cause above it.
const TailLines = 25

// NewTail hides the credentials of URLs that the programs know.
func NewTail(w io.Writer, urls ...secret.URL) *Tail { return &Tail{w: w, hide: secret.Hider(urls...)} }

func (t *Tail) Write(p []byte) (int, error) {
	for rest := p; ; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		t.part = append(t.part, line...)
		if !whole {
			return len(p), nil
		}
		if err := t.end(); err != nil {
			return 0, err
		}
		rest = after
	}
}

// end ends a line.
func (t *Tail) end() error {
	line := t.hide.Replace(string(t.part))
	t.part = t.part[:0]
	if t.lines = append(t.lines, line); len(t.lines) > TailLines {
		t.lines = t.lines[1:]
	}
	if t.w == nil {
		return nil
	}
	_, err := io.WriteString(t.w, line+"\n")
	return err
}

// Reset forgets the lines.
func (t *Tail) Reset() { t.lines, t.part = nil, t.part[:0] }

func (t *Tail) String() string {
	lines := t.lines
	if len(t.part) > 0 {
		lines = append(lines[:len(lines):len(lines)], t.hide.Replace(string(t.part)))
	}
	return strings.Join(lines, "\n")
}
