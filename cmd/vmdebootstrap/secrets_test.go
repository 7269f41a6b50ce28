// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSecretsComeFromFilesAndTheEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"password": "from file\nsecond line\n", "empty": "\n",
		"good.conf": "[config]\nroot-password = env:ROOT_PW\nuser = joe/file:password, ann/pa:ss, bob\n",
		"bad.conf":  "[config]\nroot-password = env:NONE\nuser = joe/file:empty\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := environment{dir: dir, environ: []string{"ROOT_PW=from env"}}
	read := func(name string) *settings {
		s := newSettings("amd64")
		s.secrets = env.secretSource()
		_, flags := newRoot(env, io.Discard, io.Discard)
		files := &configFiles{named: []string{filepath.Join(dir, name)}}
		if err := s.readConfigs(files, flags); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := read("good.conf")
	if got := s.options.RootPassword.Reveal(); got != "from env" {
		t.Errorf("root's password is %q", got)
	}
	var users []string
	for _, u := range s.options.Users {
		users = append(users, u.Name+"/"+u.Password.Reveal())
	}
	if want := []string{"joe/from file", "ann/pa:ss", "bob/"}; !slices.Equal(users, want) || len(s.problems) > 0 {
		t.Errorf("got %q (%v), want %q", users, s.problems, want)
	}
	s = read("bad.conf")
	text := ""
	for _, p := range s.problems {
		text += p.Error() + "\n"
	}
	for _, want := range []string{"variable NONE is not set", "first line of empty is empty"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}

	s = newSettings("amd64")
	s.secrets, s.rootPasswordFile = env.secretSource(), "password"
	if err := s.readPasswordFile(); err != nil || s.options.RootPassword.Reveal() != "from file" {
		t.Errorf("--root-password-file: got %q (%v)", s.options.RootPassword.Reveal(), err)
	}
	if err := s.readPasswordFile(); err == nil || !strings.Contains(err.Error(), "--root-password") {
		t.Errorf("two passwords: %v", err)
	}
}
