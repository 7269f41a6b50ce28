package builder

import (
	"context"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// hookStep runs a --customize script in the toolbox, with the target mounted. The script gets two arguments, the
// target's root directory and the name of the image ("" if there is none), as since vmdebootstrap 0.1.
type hookStep struct {
	base
	// Digest is the SHA-256 digest of the script, and Name the last part of its name, which it can see.
	Digest, Name string
	// Script is where it is; Copy is the copy that Take has made, which takes its place.
	Script, Copy string `json:"-"`
	// Argument is the name of the image, and Image is its digest.
	Argument string `json:"-"`
	Image    string
}

func (hookStep) Kind() string { return "hook" }

func (hookStep) Kept() bool { return true }

func (h hookStep) Title() string { return "customize with " + h.Script }

func (h hookStep) run(ctx context.Context, s *site) error {
	mounts := append(s.target.MountAt(targetDir), h.mounts(s.dir)...)
	mounts = append(mounts, target.Bind(s.archives, targetDir+archivesDir))
	script, err := h.text()
	if err != nil {
		return err
	}
	p := s.command(h.Script, targetDir, h.Argument)
	if !hidesToolbox(s.dir) {
		p.Cwd = s.dir
	}
	p.Env = hookEnviron(s.environ, p.Env, script)
	blocked, err := blockDaemons(s.target)
	if err != nil {
		return err
	}
	if err := s.inFreshToolbox(ctx, p, mounts, writeHookLibrary); err != nil {
		return err
	}
	return unblockDaemons(s.target, blocked)
}

// writeHookLibrary puts the shell library for hooks where they look for it.
func writeHookLibrary(toolbox target.Target) error {
	if err := toolbox.MkdirAll(path.Dir(hooks.CustomiseLibPath), 0o755); err != nil {
		return err
	}
	return toolbox.WriteFile(hooks.CustomiseLibPath, []byte(hooks.CustomiseLib), 0o644)
}

// text implements observable.
func (h hookStep) text() ([]byte, error) { return scriptText(h.Copy) }

// usesToolbox implements observable.
func (hookStep) usesToolbox() bool { return true }

// hostDirs implements observable.
func (h hookStep) hostDirs(dir string) hostDirs {
	var dirs hostDirs
	for _, d := range []hostDir{{"working directory", dir}, {"directory of the hook", path.Dir(h.Script)}} {
		if !hidesToolbox(d.path) && !slices.Contains(dirs.paths(), d.path) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// mounts makes the directory of a hook and the caller's working directory visible to it under their own names,
// as far as that hides nothing of the toolbox, and the copy of the script in its place.
func (h hookStep) mounts(dir string) []specs.Mount {
	mounts := []specs.Mount{}
	for _, d := range h.hostDirs(dir).paths() {
		mounts = append(mounts, target.Bind(d, d))
	}
	return append(mounts, target.Bind(h.Copy, h.Script, "ro"))
}

// hidesToolbox reports whether a mount at dir would cover programs or files that the toolbox itself needs.
func hidesToolbox(dir string) bool {
	switch first, rest, deeper := strings.Cut(strings.TrimPrefix(dir, "/"), "/"); first {
	case "", "bin", "sbin", "lib", "lib64", "etc", "dev", "proc", "sys", "run", strings.TrimPrefix(targetDir, "/"):
		return true
	case "var":
		return !deeper || rest == "lib"
	case "usr":
		return !strings.HasPrefix(rest, "local/") && !strings.HasPrefix(rest, "share/") && !strings.HasPrefix(rest, "src/")
	default:
		return false
	}
}
