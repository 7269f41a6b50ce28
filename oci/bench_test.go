// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// BenchmarkRun measures the cost that Run adds to a command of a build.
func BenchmarkRun(b *testing.B) {
	e, err := Open(b.Context(), EngineOptions{Place: here, StateDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c, err := newScratch(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.Run(b.Context(), newProcess("exit", "0"), nil, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrom measures a build that starts from a snapshot.
func BenchmarkFrom(b *testing.B) {
	e, err := Open(b.Context(), EngineOptions{Place: here, StateDir: b.TempDir()})
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

// BenchmarkCheck measures comparing a snapshot, as done on each use, and reading its contents:
// 10,000 files and 200 MB in 1,000 directories, as much as a minbase.
func BenchmarkCheck(b *testing.B) {
	e, err := Open(b.Context(), EngineOptions{Place: here, StateDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c, err := newScratch(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		dir := fmt.Sprintf("%s/%d/%d", c.Root(), i%1000/40, i%1000)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(fmt.Sprintf("%s/%d", dir, i), make([]byte, 20_000),
			0o644)); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.Snapshot(b.Context(), "snapshot", nil); err != nil {
		b.Fatal(err)
	}
	image, err := e.store.Image("snapshot")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("looks", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.check(b.Context(), "snapshot", image, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("contents", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.check(b.Context(), "snapshot", image, map[string]bool{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
