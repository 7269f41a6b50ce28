// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
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

func TestBuildSecretsAreReadAsByDocker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("two\nlines\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := secretSource{dir: dir, lookup: func(name string) (string, bool) { return "value", name == "WORD" }}
	for text, want := range map[string]string{
		"id=a,src=token": "two\nlines\n", "id=a,source=token,type=file": "two\nlines\n", "id=a,env=WORD": "value",
		"type=env,id=a,src=WORD": "value",
		"id=a":                   "neither", "src=token": "neither", "id=a,src=token,env=WORD": "neither",
		"id=a,file=token": `unknown "file"`,
		"id=a,env=NONE":   "environment variable NONE is not set", "id=a,src=none": "no such file",
	} {
		got, err := source.buildSecret(text)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && got.Text.Reveal() != want {
			t.Errorf("%s: got %q, %v, want %q", text, got.Text.Reveal(), err, want)
		}
	}
	s := &settings{secrets: source, buildSecrets: []string{"id=a,env=WORD", "id=a,src=token", "id=b"}}
	if err := s.readBuildSecrets(); err == nil || len(builder.Flatten(err)) != 2 || len(s.options.BuildSecrets) != 1 {
		t.Errorf("got %v, %d secrets", err, len(s.options.BuildSecrets))
	}
}
