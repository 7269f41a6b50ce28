// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// Command runs a shell command of the user inside the target.
type Command struct {
	base
	Command secret.Text
	Number  int `json:"-"` // position among the values of --run, for messages
	// Probe has the results of grub-probe for the command, if GRUB boots the image.
	Probe grub.ProbeAnswers `json:",omitzero"`
}

func (Command) Kind() string { return "command" }

func (Command) Kept() bool { return true }

// Changed implements Step.
func (Command) Changed(input string) string {
	if input == "" {
		return "its text changed"
	}
	return ""
}

// Title returns the number of the command without its text, which may contain passwords and tokens.
func (c Command) Title() string { return fmt.Sprintf("run command %d of --run", c.Number) }

// CommandScript runs the shell text from its standard input, because every user of the host can read the arguments of
// programs. The text itself has an empty standard input.
const CommandScript = `eval "$(cat)" </dev/null`

func (c Command) Run(ctx context.Context, s *Context) error {
	p, mounts := s.installCommand("", "sh", "-c", CommandScript)
	p.Env = HookEnviron(s.Environ, p.Env, []byte(c.Command.Reveal()))
	blocked, err := blockDaemons(s.Target)
	if err != nil {
		return err
	}
	s.Out.ShowOn(s.HookOutput)
	err = s.withGRUBProbe(ctx, "", c.Probe, func(devices []specs.Mount) error {
		return s.Access.withHosts(s.Target, func() error {
			return s.Target.Run(ctx, p, append(mounts, devices...), strings.NewReader(c.Command.Reveal()), s.Out)
		})
	})
	if err != nil {
		return err
	}
	return unblockDaemons(s.Target, blocked)
}

// HostDirs returns nil: a command sees only the environment of the host.
func (Command) HostDirs(string) target.SharedDirs { return nil }

// Variables returns the variables of the caller that are inputs, sorted.
func (c Command) Variables(environ []string) ([]string, error) {
	return inputVariables(environ, []byte(c.Command.Reveal())), nil
}

// UsesToolbox returns false: the command runs in the target.
func (Command) UsesToolbox() bool { return false }

// Copy copies a file or a directory of the host into the target. The copies belong to root, since the owners
// on the host have no meaning in the image.
type Copy struct {
	base
	// Digest is the digest of the source, and Name the last element of its path.
	Digest, Name string
	// Source is the path of the source, for messages. Copy is the copy that Take has made.
	Source, Copy string `json:"-"`
	// Destination is the path of the copy or, if it ends in a slash, of its directory. A directory is merged into an
	// existing one, including the root directory.
	Destination string
}

func (Copy) Kind() string { return "copy" }

// Changed implements Step.
func (Copy) Changed(input string) string {
	if input == "Digest" {
		return "its content changed"
	}
	return ""
}

func (c Copy) Title() string { return "copy " + c.Source + " to " + c.Destination }

func (c Copy) Run(ctx context.Context, s *Context) error {
	dst := path.Clean(c.Destination)
	if dst != "/" && strings.HasSuffix(c.Destination, "/") {
		dst = path.Join(dst, c.Name)
	}
	if err := s.Target.MkdirAll(path.Dir(dst), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(c.Copy, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.Copy, name)
		if err != nil {
			return err
		}
		return copyEntry(ctx, s.Target, name, d, path.Join(dst, filepath.ToSlash(rel)))
	})
}

// copyEntry copies one file, symbolic link or directory, without the content of a directory.
func copyEntry(ctx context.Context, t target.Target, name string, d fs.DirEntry, dst string) error {
	const kept = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		existing, err := t.Lstat(dst)
		if err == nil && existing.IsDir() {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return t.MkdirAll(dst, info.Mode()&kept)
	case info.Mode()&fs.ModeSymlink != 0:
		text, err := os.Readlink(name)
		if err != nil {
			return err
		}
		return t.Symlink(text, dst)
	case info.Mode().IsRegular():
		in, err := diskimage.OpenRegular(name)
		if err != nil {
			return err
		}
		err = t.CreateFile(dst, info.Mode()&kept, func(out *os.File) error {
			return errors.Join(out.Truncate(info.Size()), diskimage.CopyFile(ctx, out, in),
				os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", out.Fd()), info.ModTime(), info.ModTime()))
		})
		return errors.Join(err, in.Close())
	default:
		return fmt.Errorf("%s is not a file, directory or symbolic link", name)
	}
}
