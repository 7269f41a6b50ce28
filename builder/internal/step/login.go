// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// SSHKeys lets an account log in by ssh with keys.
type SSHKeys struct {
	base
	User string
	// Files are copies of files of public keys, in the format of authorized_keys in sshd(8). Digests are theirs.
	Files   []string `json:"-"`
	Digests []string
}

func (SSHKeys) Kind() string { return "ssh.keys" }

func (k SSHKeys) Title() string { return "authorize ssh keys of " + k.User }

func (k SSHKeys) Run(ctx context.Context, s *Context) error {
	home, err := homeOf(s, k.User)
	if err != nil {
		return err
	}
	dir := path.Join(home, ".ssh")
	name := path.Join(dir, "authorized_keys")
	text, err := s.Target.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range k.Files {
		keys, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text = append(text, strings.TrimRight(string(keys), "\n")+"\n"...)
	}
	if err := s.Target.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.Target.WriteFile(name, text, 0o600); err != nil {
		return err
	}
	return s.inTarget(ctx, "chown", "-R", k.User+":", dir)
}

// homeOf returns the home directory of an account of the target.
func homeOf(s *Context, user string) (string, error) {
	text, err := s.Target.ReadFile("/etc/passwd")
	if err != nil {
		return "", err
	}
	const home = 5 // see passwd(5)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); fields[0] == user && len(fields) > home && path.IsAbs(fields[home]) {
			return fields[home], nil
		}
	}
	return "", fmt.Errorf("/etc/passwd has no home directory of %s", user)
}

// PasswordHash sets the hash of an account's password.
type PasswordHash struct {
	base
	User string
	Hash secret.Text
}

func (PasswordHash) Kind() string { return "password.hash" }

// Changed implements Step.
func (PasswordHash) Changed(input string) string {
	if input == "Hash" {
		return "the hash changed"
	}
	return ""
}

func (p PasswordHash) Title() string { return "set the hash of the password of " + p.User }

func (p PasswordHash) Run(ctx context.Context, s *Context) error {
	return s.InTargetWith(ctx, nil, p.User+":"+p.Hash.Reveal()+"\n", "chpasswd", "--encrypted")
}
