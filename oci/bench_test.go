package oci

import "testing"

// BenchmarkRun is what one command of a build costs beside the command.
func BenchmarkRun(b *testing.B) {
	e, err := Open(b.Context(), EngineOptions{StateDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c, err := newScratch(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.Run(b.Context(), process("exit", "0"), nil, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrom is what a build costs that begins with a snapshot.
func BenchmarkFrom(b *testing.B) {
	e, err := Open(b.Context(), EngineOptions{StateDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c, err := newScratch(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Snapshot(b.Context(), "snapshot", nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := e.From(b.Context(), "snapshot")
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
