// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// StageUser is a step that uses files of stages of a Containerfile, which have to be in Context.Stages.
type StageUser interface {
	// UsesStages returns the IDs of the stages.
	UsesStages() []string
}

// StageRef refers to a stage of a Containerfile.
type StageRef struct {
	// ID is a digest of the steps that make the stage, and Secrets are the secrets of these; it is "" for no stage.
	ID      string        `json:",omitempty"`
	Secrets []secret.Text `json:",omitempty"`
}

// RunMount is a --mount of a ContainerRun.
type RunMount struct {
	// Type is bind, cache, secret or tmpfs.
	Type   string
	Target string `json:",omitempty"`
	// Source is the path below the root directory of Stage that is mounted.
	Source string   `json:",omitempty"`
	Stage  StageRef `json:",omitzero"`
	// Digest is that of files of the host, and Copy the copy that Take has made. Write has the program change a copy of
	// it.
	Digest string `json:",omitempty"`
	Copy   string `json:"-"`
	Write  bool   `json:",omitempty"`
	// ID is the name of a cache or a secret.
	ID string `json:",omitempty"`
	// Secret is the text of a secret; Variable, if set, gets it.
	Secret   secret.Text `json:",omitzero"`
	Variable string      `json:",omitempty"`
	// Mode, UID and GID are those of the file of a secret, or of the directory of a cache.
	Mode     uint32 `json:",omitempty"`
	UID, GID uint32 `json:",omitempty"`
	// Size limits a tmpfs, in bytes; 0 is the kernel's limit.
	Size int64 `json:",omitempty"`
}

// prepare returns the mounts for a process, and sets its variables. undo removes what was prepared; done says that the
// process has succeeded.
func (m RunMount) prepare(ctx context.Context, s *Context, p *specs.Process) (
	mounts []specs.Mount, undo func(done bool) error, err error) {
	nothing := func(bool) error { return nil }
	switch m.Type {
	case "tmpfs":
		options := []string{"nosuid", "nodev", "mode=1777"}
		if m.Size > 0 {
			options = append(options, fmt.Sprintf("size=%d", m.Size))
		}
		return []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: m.Target, Options: options}}, nothing, nil
	case "secret":
		return m.secret(s, p)
	case "cache":
		return m.cache(ctx, s)
	}
	if m.Stage.ID != "" {
		stage := s.Stages[m.Stage.ID]
		source, err := securejoin.SecureJoin(stage.Root(), m.Source)
		if err == nil {
			_, err = os.Lstat(source)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", m.Source, fs.ErrNotExist)
		}
		return []specs.Mount{target.Bind(source, m.Target, "ro")}, nothing, err
	}
	if !m.Write {
		return []specs.Mount{target.Bind(m.Copy, m.Target, "ro")}, nothing, nil
	}
	dir, err := os.MkdirTemp(s.Tmp, "mount-")
	if err != nil {
		return nil, nil, err
	}
	remove := func(bool) error { return os.RemoveAll(dir) }
	if err := errors.Join(os.Chmod(dir, 0o755), os.CopyFS(dir, os.DirFS(m.Copy))); err != nil {
		return nil, nil, errors.Join(err, remove(false))
	}
	return []specs.Mount{target.Bind(dir, m.Target)}, remove, nil
}

// secret lends a secret as a file or in a variable.
func (m RunMount) secret(s *Context, p *specs.Process) ([]specs.Mount, func(bool) error, error) {
	if m.Variable != "" {
		p.Env = setVariables(p.Env, m.Variable+"="+m.Secret.Reveal())
	}
	if m.Target == "" {
		return nil, func(bool) error { return nil }, nil
	}
	dir, err := os.MkdirTemp(s.Tmp, "secret-")
	if err != nil {
		return nil, nil, err
	}
	remove := func(bool) error { return os.RemoveAll(dir) }
	file := filepath.Join(dir, "secret")
	err = os.WriteFile(file, []byte(m.Secret.Reveal()), 0o600)
	if err == nil && !s.Target.OwnerXattrs() { // else the rights of root are everyone's
		err = os.Chown(file, int(m.UID), int(m.GID))
	}
	if err = errors.Join(err, os.Chmod(file, fileMode(m.Mode))); err != nil {
		return nil, nil, errors.Join(err, remove(false))
	}
	return []specs.Mount{target.Bind(file, m.Target, "ro")}, remove, nil
}

// cacheDir is the directory of a cache mount that programs see.
const cacheDir = "/cache"

// cache mounts a directory whose files stay for later runs.
func (m RunMount) cache(ctx context.Context, s *Context) ([]specs.Mount, func(bool) error, error) {
	c, keep, err := s.CacheMount(ctx, m.ID)
	if err != nil {
		return nil, nil, err
	}
	undo := func(done bool) error {
		var err error
		if done {
			err = keep()
		}
		return errors.Join(err, c.Close())
	}
	err = errors.Join(c.MkdirAll(cacheDir, 0o755), c.Lchown(cacheDir, int(m.UID), int(m.GID)),
		c.Chmod(cacheDir, fileMode(m.Mode)))
	if err != nil {
		return nil, nil, errors.Join(err, undo(false))
	}
	options := []string{}
	if !m.Write {
		options = append(options, "ro")
	}
	return []specs.Mount{target.Bind(filepath.Join(c.Root(), cacheDir), m.Target, options...)}, undo, nil
}
