package builder

import (
	"log/slog"
	"testing"
)

// runStep runs one step on a target and the toolbox of a test.
func runStep(t *testing.T, f *fakeTarget, s Step) error {
	t.Helper()
	return s.run(t.Context(), &site{
		target: f, toolbox: newFakeTarget(t, nil), freshToolbox: always(newFakeTarget(t, nil)), archives: t.TempDir(), tmp: t.TempDir(),
		resolver: []byte("nameserver 192.0.2.1\n"), dir: "/home/alice", log: slog.New(slog.DiscardHandler), out: newTail(nil),
	})
}
