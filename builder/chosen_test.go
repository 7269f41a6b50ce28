// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Issue 16: with recommended packages, apt chooses other providers than the estimate does. The next build of the same
// request expects what it chose.
func TestWhatAptChoseIsExpectedNextTime(t *testing.T) {
	t.Parallel()
	cache, err := archive.NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	index := toolIndex(t, "agent-a", "agent-b", "desktop", "gone")
	var estimated []*archive.Package
	for _, name := range []string{"agent-a", "desktop"} {
		estimated = append(estimated, index.Lookup(name))
	}
	spec := testSpec(t, func(o *Options) { o.Packages, o.Recommends = []string{"desktop"}, true })
	expect := func(spec Spec, index *archive.Index, want string) chosen {
		t.Helper()
		c := chosenBefore(t.Context(), cache, spec, index, estimated)
		if got := strings.Join(sortedNames(c.packages), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		return c
	}
	install := func(c chosen, names ...string) {
		t.Helper()
		status := ""
		for _, name := range names {
			status += "Package: " + name + "\nStatus: install ok installed\nVersion: 1\n\n"
		}
		if err := c.keep(t.Context(), targettest.New(t, map[string]string{dpkgStatus: status})); err != nil {
			t.Fatal(err)
		}
	}
	install(expect(spec, index, "agent-a desktop"), "desktop", "agent-a")
	if files, _, err := cache.Usage(); files > 0 || err != nil {
		t.Errorf("what was expected is kept: %d files, %v", files, err)
	}
	install(expect(spec, index, "agent-a desktop"), "agent-b", "desktop", "gone")
	expect(spec, index, "agent-b desktop gone")
	expect(spec, toolIndex(t, "agent-a", "agent-b", "desktop"), "agent-b desktop")
	expect(testSpec(t, func(o *Options) { o.Packages = []string{"desktop"} }), index, "agent-a desktop")
	// A release has replaced agent-b, and apt chooses as estimated again.
	install(expect(spec, index, "agent-b desktop gone"), "agent-a", "desktop")
	c := expect(spec, index, "agent-a desktop")
	install(c, "agent-b", "desktop")
	if err := os.WriteFile(cache.Path(cache.Derived(archive.ChosenKind, c.key)), []byte("gone"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(spec, index, "agent-a desktop")
}
