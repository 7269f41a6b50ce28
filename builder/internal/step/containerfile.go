// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// ContainerRun is a RUN instruction of a Containerfile: it runs a program in the target.
type ContainerRun struct {
	base
	// Instruction is the source with its file and line, for messages.
	Instruction string `json:"-"`
	Args        []string
	// Script, if not empty, is the text of the program ScriptFile while Args run.
	Script     string `json:",omitempty"`
	ScriptFile string `json:",omitempty"`
	// Env has variables as NAME=VALUE, which take precedence over those of all programs of a build.
	Env []string
	// Workdir is the working directory, and User the name or number of a user, optionally with :GROUP; "" is root.
	Workdir, User string
	Mounts        []RunMount `json:",omitempty"`
	// Probe has the results of grub-probe for the program, if GRUB boots the image.
	Probe grub.ProbeAnswers `json:",omitzero"`
}

func (ContainerRun) Kind() string { return "container.run" }

func (ContainerRun) Kept() bool { return true }

// Changed implements Step.
func (ContainerRun) Changed(input string) string {
	switch input {
	case "Args", "Script":
		return "its text changed"
	case "Env":
		return "ARG or ENV before it changed"
	case "Mounts":
		return "what it mounts changed"
	case "":
		return "a secret has changed"
	}
	return ""
}

// UsesStages implements StageUser.
func (r ContainerRun) UsesStages() []string {
	var ids []string
	for _, m := range r.Mounts {
		if m.Stage.ID != "" {
			ids = append(ids, m.Stage.ID)
		}
	}
	return ids
}

func (r ContainerRun) Title() string { return r.Instruction }

func (r ContainerRun) Run(ctx context.Context, s *Context) (err error) {
	p, mounts := s.installCommand("", r.Args...)
	p.Cwd = r.Workdir
	if r.User != "" {
		account, err := lookupUser(s.Target, r.User)
		if err != nil {
			return err
		}
		p.User = specs.User{UID: uint32(account.Uid), GID: uint32(account.Gid)}
		for _, gid := range account.Sgids {
			p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
		}
		p.Env = setVariables(p.Env, "HOME="+account.Home)
	}
	p.Env = setVariables(p.Env, r.Env...)
	for _, m := range r.Mounts {
		mounted, undo, failed := m.prepare(ctx, s, p)
		if failed != nil {
			return fmt.Errorf("--mount=type=%s: %w", m.Type, failed)
		}
		defer func() { err = errors.Join(err, undo(err == nil)) }()
		mounts = append(mounts, mounted...)
	}
	if r.Script != "" {
		script := filepath.Join(s.Tmp, path.Base(r.ScriptFile))
		if err := os.WriteFile(script, []byte(r.Script), 0o755); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(script)) }()
		mounts = append(mounts, target.Bind(script, r.ScriptFile, "ro"))
	}
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	s.Out.ShowOn(s.HookOutput)
	err = s.withGRUBProbe(ctx, "", r.Probe, func(devices []specs.Mount) error {
		return s.Access.withHosts(s.Target, func() error {
			return s.Target.Run(ctx, p, append(mounts, devices...), strings.NewReader(""), s.Out)
		})
	})
	if err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// setVariables sets variables, NAME=VALUE, in an environment.
func setVariables(env []string, set ...string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return slices.ContainsFunc(set, func(s string) bool { return variableName(s) == variableName(kv) })
	})
	return append(env, set...)
}

// lookupUser returns an account of the target by USER or USER:GROUP, names or numbers.
func lookupUser(t target.Target, text string) (*user.ExecUser, error) {
	var files [2][]byte
	for i, name := range []string{"/etc/passwd", "/etc/group"} {
		data, err := t.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		files[i] = data
	}
	account, err := user.GetExecUser(text, &user.ExecUser{Home: "/"}, bytes.NewReader(files[0]), bytes.NewReader(files[1]))
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", text, err)
	}
	return account, nil
}

// owner is the owner and the group of a file.
type owner struct{ uid, gid int }

// lookupOwner returns the owner that --chown names: the group of a number alone is the same number.
func lookupOwner(t target.Target, text string) (owner, error) {
	if text == "" {
		return owner{}, nil
	}
	if id, err := strconv.ParseUint(text, 10, 31); err == nil {
		return owner{int(id), int(id)}, nil
	}
	account, err := lookupUser(t, text)
	if err != nil {
		return owner{}, err
	}
	return owner{account.Uid, account.Gid}, nil
}

// ContainerWorkdir is a WORKDIR instruction of a Containerfile: it makes a directory if it is missing.
type ContainerWorkdir struct {
	base
	// Instruction is the source with its file and line, for messages.
	Instruction string `json:"-"`
	Path        string
	// User is the owner of the directories that are made, as in ContainerRun.
	User string `json:",omitempty"`
}

func (ContainerWorkdir) Kind() string { return "container.workdir" }

func (w ContainerWorkdir) Title() string { return w.Instruction }

func (w ContainerWorkdir) Run(_ context.Context, s *Context) error {
	o := owner{}
	if w.User != "" {
		account, err := lookupUser(s.Target, w.User)
		if err != nil {
			return err
		}
		o = owner{account.Uid, account.Gid}
	}
	return mkdirAllAs(s.Target, w.Path, o)
}

// mkdirAllAs makes a directory and its missing parents, which all belong to o.
func mkdirAllAs(t target.Target, dir string, o owner) error {
	at := "/"
	for element := range strings.SplitSeq(strings.Trim(path.Clean(dir), "/"), "/") {
		at = path.Join(at, element)
		exists, err := target.Exists(t, at)
		if err != nil {
			return err
		}
		if exists {
			continue
		}
		if err := errors.Join(t.MkdirAll(at, 0o755), t.Lchown(at, o.uid, o.gid)); err != nil {
			return err
		}
	}
	return nil
}

// ContainerBase is the FROM instruction of a Containerfile that begins with an image: it fills the empty target.
type ContainerBase struct {
	base
	// Image is the name of the image, for messages.
	Image string `json:"-"`
	// Digest identifies its content, which is in Context.Bases.
	Digest string
}

func (ContainerBase) Kind() string { return "container.base" }

func (ContainerBase) Kept() bool { return true }

// Changed implements Step.
func (ContainerBase) Changed(string) string { return "the image changed" }

func (b ContainerBase) Title() string { return "unpack " + b.Image }

func (b ContainerBase) Run(ctx context.Context, s *Context) error {
	reader, writer := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := tarfile.Write(ctx, writer, s.Bases[b.Digest])
		return errors.Join(err, writer.CloseWithError(err))
	})
	group.Go(func() error {
		err := s.Target.Unpack(ctx, reader)
		// What is left of the archive's end is of no use, but its writer waits.
		_, drained := io.Copy(io.Discard, reader)
		return errors.Join(err, drained, reader.Close())
	})
	return group.Wait()
}
