// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
)

func TestPassphraseIsTypedTwice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, typed, want, err string }{
		{"the same", "horse\nhorse\n", "horse", ""},
		{"two", "horse\nhouse\n", "", "differ"},
		{"empty", "\n", "", "empty"},
	} {
		control, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(control, tt.typed); err != nil {
			t.Fatal(err)
		}
		var shown bytes.Buffer
		s := newSettings("amd64")
		s.options.LUKS = true
		err = s.askLUKS(t.Context(), terminal, &shown, true)
		if got := s.options.LUKSPassphrase.Reveal(); err == nil && got != tt.want || (err == nil) != (tt.err == "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
		if !strings.HasPrefix(shown.String(), "Passphrase of the encrypted root file system: \n") ||
			strings.Contains(shown.String(), "horse") {
			t.Errorf("%s: the terminal shows %q", tt.name, &shown)
		}
		if err := errors.Join(terminal.Close(), control.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestInterruptEndsTheQuestionForAPassphrase(t *testing.T) {
	t.Parallel()
	control, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	defer terminal.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askPassphrase(ctx, terminal, io.Discard, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
