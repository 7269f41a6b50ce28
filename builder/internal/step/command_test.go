// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// Issue 15: the debug log lacked the commands that were run.
func TestCommandsAreLoggedWithoutCredentials(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	mirror := secret.NewURL("http://joe:secret@mirror.example/debian")
	s := &Context{
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Out: NewTail(nil, mirror),
	}
	p := s.Command("debootstrap", "trixie", "/target", "http://joe:secret@mirror.example/debian")
	if p.Args[3] != "http://joe:secret@mirror.example/debian" {
		t.Errorf("the arguments are %q", p.Args)
	}
	got := log.String()
	if !strings.Contains(got, "debootstrap trixie /target http://") || strings.Contains(got, "secret@") {
		t.Errorf("the log has %q", got)
	}
}
