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
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// Hook runs a --customize script in the toolbox, with the target mounted. The script gets two arguments, the
// target's root directory and the name of the image ("" if there is none), as since vmdebootstrap 0.1.
type Hook struct {
	base
	// Digest is the SHA-256 digest of the script, and Name the last part of its name, which it can see.
	Digest, Name string
	// Script is where it is; Copy is the copy that Take has made, which takes its place.
	Script, Copy string `json:"-"`
	// Argument is the name of the image, and Image is its digest.
	Argument string `json:"-"`
	Image    string
}

func (Hook) Kind() string { return "hook" }

func (Hook) Kept() bool { return true }

// Changed implements Step.
func (Hook) Changed(input string) string {
	switch input {
	case "Digest":
		return "its content is another"
	case "Image":
		return "its arguments are others"
	}
	return ""
}

func (h Hook) Title() string { return "customize with " + h.Script }

func (h Hook) Run(ctx context.Context, s *Context) error {
	mounts := append(s.Target.MountAt(TargetDir), h.Mounts(s.Dir)...)
	mounts = append(mounts, target.Bind(s.Archives, TargetDir+archivesDir))
	script, err := h.text()
	if err != nil {
		return err
	}
	p := s.Command(h.Script, TargetDir, h.Argument)
	if !hidesToolbox(s.Dir) {
		p.Cwd = s.Dir
	}
	p.Env = HookEnviron(s.Environ, p.Env, script)
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	if err := s.inFreshToolbox(ctx, p, mounts, writeHookLibrary); err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// writeHookLibrary puts the shell library for hooks where they look for it.
func writeHookLibrary(toolbox target.Target) error {
	if err := toolbox.MkdirAll(path.Dir(hooks.CustomiseLibPath), 0o755); err != nil {
		return err
	}
	return toolbox.WriteFile(hooks.CustomiseLibPath, []byte(hooks.CustomiseLib), 0o644)
}

// Variables are the inputs among the caller's variables, sorted: a script can use any that it gets.
func (h Hook) Variables(environ []string) ([]string, error) {
	text, err := h.text()
	if err != nil {
		return nil, err
	}
	return inputVariables(environ, text), nil
}

// UsesToolbox reports that the script runs in the toolbox.
func (Hook) UsesToolbox() bool { return true }

// HostDirs are the caller's working directory and the directory of the hook, as far as they hide nothing of
// the toolbox.
func (h Hook) HostDirs(dir string) target.SharedDirs {
	var dirs target.SharedDirs
	for _, d := range []target.SharedDir{
		{Name: "working directory", Path: dir}, {Name: "directory of the hook", Path: path.Dir(h.Script)},
	} {
		if !hidesToolbox(d.Path) && !slices.Contains(dirs.Paths(), d.Path) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// Mounts makes the directory of a hook and the caller's working directory visible to it under their own names,
// as far as that hides nothing of the toolbox, and the copy of the script in its place.
func (h Hook) Mounts(dir string) []specs.Mount {
	mounts := []specs.Mount{}
	for _, d := range h.HostDirs(dir).Paths() {
		mounts = append(mounts, target.Bind(d, d))
	}
	return append(mounts, target.Bind(h.Copy, h.Script, "ro"))
}

// hidesToolbox reports whether a mount at dir would cover programs or files that the toolbox itself needs.
func hidesToolbox(dir string) bool {
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

// text reads the script; nil if there is none, as in a plan that is only printed.
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
