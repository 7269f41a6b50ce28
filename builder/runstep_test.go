// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"log/slog"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// runStep runs one step on a target and the toolbox of a test.
func runStep(t *testing.T, f *targettest.Target, s step.Step) error {
	t.Helper()
	return s.Run(t.Context(), &step.Context{
		Target: f, Toolbox: targettest.New(t, nil), FreshToolbox: targettest.Always(targettest.New(t, nil)),
		Archives: t.TempDir(), Tmp: t.TempDir(),
		Resolver: []byte("nameserver 192.0.2.1\n"), Dir: "/home/alice", Log: slog.New(slog.DiscardHandler),
		Out: step.NewTail(nil),
	})
}
