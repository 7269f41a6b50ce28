// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

func TestGroupShowsALineForEachMember(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	g := &Group{total: 20, began: now, options: Options{Now: func() time.Time { return now }}}
	a, b := g.Begin("web"), g.Begin("db")
	now = now.Add(5 * time.Second)
	a.Report(progress.Event{Kind: progress.Begin, Time: now, Step: 3, Steps: 14, Title: "install\n"})
	a.Report(progress.Event{Kind: progress.Advance, Time: now, Step: 3, Steps: 14, Activity: "unpack", Done: 2, Total: 5,
		Unit: progress.Packages})
	b.Report(progress.Event{Kind: progress.Begin, Time: now, Step: 1, Title: "prepare"})
	want := []string{
		"web: [ 3/14] install?: unpack 2 of 5 packages  5s",
		"db: [1] prepare                                5s",
		"0 of 20 images done                            5s",
	}
	if got := g.lines(50); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := g.status(), "web: [ 3/14] install?: unpack 2 of 5 packages, 0s\ndb: [1] prepare: 0s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	a.End(true)
	if got, want := g.lines(50)[1], "1 of 20 images done, 1 failed                  5s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range mostLines {
		g.Begin(fmt.Sprint(i))
	}
	if got := g.lines(50); len(got) != mostLines+2 || got[mostLines] != "and 1 more" {
		t.Errorf("got %q", got)
	}
}

func TestLinesOfMembersAreWhole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := OpenGroup(Options{Mode: None, Stdout: &out, Stderr: &out, Now: time.Now}, 2)
	a, b := g.Begin("a").Stdout(), g.Begin("b").Stderr()
	for _, part := range []string{"on", "e\n\ntw", "o"} {
		fmt.Fprint(a, part)
		fmt.Fprint(b, part)
	}
	_, _ = a.Close(), b.Close()
	if got, want := out.String(), "a: one\na: \nb: one\nb: \na: two\nb: two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
