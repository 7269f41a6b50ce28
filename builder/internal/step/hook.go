// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// Hook runs a --customize script in the toolbox, with the target mounted. The script gets two arguments, the
// target's root directory and the name of the image ("" if there is none), as since vmdebootstrap 0.1.
type Hook struct {
	base
	// Digest is the SHA-256 digest of the script, and Name the last element of its path, which it can see.
	Digest, Name string
	// Script is the path of the script. Copy is the copy that Take has made, which is mounted over it.
	Script, Copy string `json:"-"`
	// Argument is the name of the image, and Image the digest of that name.
	Argument string `json:"-"`
	Image    string
	// Probe has the results of grub-probe for the script, if GRUB boots the image.
	Probe grub.ProbeAnswers `json:",omitzero"`
}

func (Hook) Kind() string { return "hook" }

func (Hook) Kept() bool { return true }

// Changed implements Step.
func (Hook) Changed(input string) string {
	switch input {
	case "Digest":
		return "its content changed"
	case "Image":
		return "its arguments changed"
	}
	return ""
}

func (h Hook) Title() string { return "customize with " + h.Script }

func (h Hook) Run(ctx context.Context, s *Context) error {
	mounts := append(s.Target.MountAt(TargetDir), h.Mounts(s.Dir)...)
	script, err := h.text()
	if err != nil {
		return err
	}
	p, shared := s.installCommand(TargetDir, h.Script, TargetDir, h.Argument)
	mounts = append(mounts, shared...)
	if !HidesToolbox(s.Dir) {
		p.Cwd = s.Dir
	}
	p.Env = HookEnviron(s.Environ, p.Env, script)
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	s.Out.ShowOn(s.HookOutput)
	prepare := func(toolbox target.Target) error {
		return errors.Join(writeHookLibrary(toolbox), s.Access.prepareToolbox(toolbox))
	}
	err = s.withGRUBProbe(ctx, TargetDir, h.Probe, func(devices []specs.Mount) error {
		return s.Access.withHosts(s.Target, func() error {
			return s.inFreshToolbox(ctx, p, append(mounts, devices...), prepare)
		})
	})
	if err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// writeHookLibrary writes the shell library for hooks.
func writeHookLibrary(toolbox target.Target) error {
	if err := toolbox.MkdirAll(path.Dir(hooks.CustomiseLibPath), 0o755); err != nil {
		return err
	}
	return toolbox.WriteFile(hooks.CustomiseLibPath, []byte(hooks.CustomiseLib), 0o644)
}

// Variables returns the variables of the caller that are inputs, sorted: all that the script gets.
func (h Hook) Variables(environ []string) ([]string, error) {
	text, err := h.text()
	if err != nil {
		return nil, err
	}
	return inputVariables(environ, text), nil
}

// UsesToolbox returns true: the script runs in the toolbox.
func (Hook) UsesToolbox() bool { return true }

// HostDirs returns the caller's working directory and the directory of the hook, unless mounting them would
// hide files of the toolbox.
func (h Hook) HostDirs(dir string) target.SharedDirs {
	var dirs target.SharedDirs
	for _, d := range []target.SharedDir{
		{Name: "working directory", Path: dir}, {Name: "directory of the hook", Path: path.Dir(h.Script)},
	} {
		if !HidesToolbox(d.Path) && !slices.Contains(dirs.Paths(), d.Path) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// Mounts returns mounts of HostDirs at the same paths as on the host, and of the copy of the script at the
// script's path.
func (h Hook) Mounts(dir string) []specs.Mount {
	mounts := []specs.Mount{}
	for _, d := range h.HostDirs(dir).Paths() {
		mounts = append(mounts, target.Bind(d, d))
	}
	return append(mounts, target.Bind(h.Copy, h.Script, "ro"))
}

// HidesToolbox reports whether a mount at dir would hide files that the toolbox, or another system, needs.
func HidesToolbox(dir string) bool {
	switch first, rest, deeper := strings.Cut(strings.TrimPrefix(dir, "/"), "/"); first {
	case "", "bin", "sbin", "lib", "lib64", "etc", "dev", "proc", "sys", "run", strings.TrimPrefix(TargetDir, "/"):
		return true
	case "var":
		return !deeper || rest == "lib"
	case "usr":
		return !strings.HasPrefix(rest, "local/") && !strings.HasPrefix(rest, "share/") &&
			!strings.HasPrefix(rest, "src/")
	default:
		return false
	}
}

// text returns the script, or nil if there is no copy, as in a plan that is only printed.
func (h Hook) text() ([]byte, error) {
	text, err := os.ReadFile(h.Copy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	return text, nil
}
