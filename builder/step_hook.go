package builder

import (
	"context"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// hookStep runs a --customize script in the toolbox, with the target mounted. The script gets two arguments, the
// target's root directory and the name of the image ("" if there is none), as since vmdebootstrap 0.1.
type hookStep struct {
	// Digest is the SHA-256 digest of the script.
	Digest string
	Script string `json:"-"` // where it is does not matter
	// Argument is the name of the image, and Image is its digest.
	Argument string `json:"-"`
	Image    Digest
}

func (hookStep) Kind() string { return "hook" }

func (h hookStep) Title() string { return "customize with " + h.Script }

func (h hookStep) run(ctx context.Context, s *site) error {
	mounts := append(s.target.MountAt(targetDir), h.mounts(s.dir)...)
	mounts = append(mounts, bind(s.archives, targetDir+archivesDir))
	p := s.command(h.Script, targetDir, h.Argument)
	if !hidesToolbox(s.dir) {
		p.Cwd = s.dir
	}
	p.Env = hookEnviron(s.environ, p.Env)
	if err := s.toolbox.MkdirAll(path.Dir(hooks.CustomiseLibPath), 0o755); err != nil {
		return err
	}
	if err := s.toolbox.WriteFile(hooks.CustomiseLibPath, []byte(hooks.CustomiseLib), 0o644); err != nil {
		return err
	}
	blocked, err := blockDaemons(s.target)
	if err != nil {
		return err
	}
	if err := s.toolbox.Run(ctx, p, mounts, strings.NewReader(""), s.out); err != nil {
		return err
	}
	return unblockDaemons(s.target, blocked)
}

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

// hookEnviron is the caller's environment, as it always was, without the places of the caller's session, and with the
// build's own search path, home directory and language.
func hookEnviron(caller, build []string) []string {
	nameOf := func(kv string) string {
		name, _, _ := strings.Cut(kv, "=")
		return name
	}
	var env []string
	for _, kv := range caller {
		name := nameOf(kv)
		session := strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "DBUS_") || strings.HasPrefix(name, "LC_") ||
			slices.Contains(sessionVariables, name)
		if !session && !slices.ContainsFunc(build, func(b string) bool { return nameOf(b) == name }) {
			env = append(env, kv)
		}
	}
	return append(env, build...)
}

// sessionVariables name places and settings that a container does not have.
var sessionVariables = []string{
	"LANG", "LANGUAGE", "TMPDIR", "TEMP", "TMP", "MAIL", "OLDPWD", "PWD", "SSH_AUTH_SOCK", "USER", "LOGNAME", "SHELL",
}

// mounts makes the directory of a hook and the caller's working directory visible to it under their own names,
// as far as that hides nothing of the toolbox.
func (h hookStep) mounts(dir string) []specs.Mount {
	mounts := []specs.Mount{}
	for _, d := range h.hostDirs(dir).paths() {
		mounts = append(mounts, bind(d, d))
	}
	if hidesToolbox(path.Dir(h.Script)) {
		mounts = append(mounts, bind(h.Script, h.Script, "ro"))
	}
	return mounts
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
