// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// luksSettings say where the keys of --luks are.
type luksSettings struct {
	passphrase, keyFile string
	recoveryKey         bool
}

// passphrase returns the first line of the file that text names, or the variable of env:VARIABLE. Errors do not show
// text: it may be the passphrase itself, by mistake.
func (s secretSource) passphrase(text string) (string, error) {
	data, err := s.content(text)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(data, "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", errors.New("the passphrase is empty")
	}
	return line, nil
}

// content returns what is in the file that text names, or in the variable of env:VARIABLE, without text in errors.
func (s secretSource) content(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "env:"); ok {
		value, found := s.lookup(name)
		if !found {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		return value, nil
	}
	data, err := os.ReadFile(absolute(s.dir, strings.TrimPrefix(text, "file:")))
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return "", fmt.Errorf("read the file: %w (the value is the name of a file or env:VARIABLE, since other users see "+
			"the arguments of a program)", pathErr.Err)
	}
	return string(data), err
}

// readLUKS reads the keys of --luks.
func (s *settings) readLUKS() error {
	var errs []error
	set := func(flag, text string, read func(string) (string, error), to *builder.Secret) {
		if text == "" {
			return
		}
		secret, err := read(text)
		if err == nil && secret == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			errs = append(errs, &builder.Problem{Flag: flag, Err: err})
			secret = assumed // keeps the rules of the build from asking for it
		}
		*to = builder.NewSecret(secret)
	}
	o := &s.options
	set("--luks-passphrase", s.luks.passphrase, s.secrets.passphrase, &o.LUKSPassphrase)
	set("--luks-key-file", s.luks.keyFile, s.secrets.content, &o.LUKSKeyFile)
	if s.luks.recoveryKey {
		o.LUKSRecoveryKey = builder.NewRecoveryKey()
	}
	return errors.Join(errs...)
}

// askLUKS asks for the passphrase of --luks if there is a terminal, and no other key that could be typed at the boot.
// Without ask it assumes one, for a run that only checks the settings.
func (s *settings) askLUKS(ctx context.Context, stdin io.Reader, stderr io.Writer, ask bool) error {
	if !s.options.LUKS || s.luks.passphrase != "" || s.luks.recoveryKey || !isTerminal(stdin) {
		return nil
	}
	s.options.LUKSPassphrase = builder.NewSecret(assumed)
	if !ask {
		return nil
	}
	text, err := askNewPassphrase(ctx, stdin.(*os.File), stderr)
	if err != nil {
		return &builder.Problem{Flag: "--luks", Err: err}
	}
	s.options.LUKSPassphrase = builder.NewSecret(text)
	return nil
}

// assumed stands for a passphrase that is not known yet.
const assumed = "?"

// askNewPassphrase asks for a passphrase twice.
func askNewPassphrase(ctx context.Context, terminal *os.File, out io.Writer) (string, error) {
	first, err := askPassphrase(ctx, terminal, out, "Passphrase of the encrypted root file system: ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", errors.New("the passphrase is empty")
	}
	second, err := askPassphrase(ctx, terminal, out, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passphrases differ")
	}
	return first, nil
}

// askPassphrase reads a line from a terminal without echo. The terminal is as before if ctx ends.
func askPassphrase(ctx context.Context, terminal *os.File, out io.Writer, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	fmt.Fprint(out, prompt)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	defer fmt.Fprintln(out)
	select {
	case l := <-typed:
		if l.err != nil {
			return "", fmt.Errorf("read the passphrase: %w", l.err)
		}
		return string(l.text), nil
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
