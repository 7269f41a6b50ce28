// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// Group shows the progress of several pieces of work that are done at the same time. Each has a name, with which its
// lines begin.
type Group struct {
	mode    string
	options Options
	live    *live  // of the mode TTY
	plain   *plain // of the mode Plain

	// writing is held while lines are written. It is not mu, because a live block calls lines meanwhile.
	writing sync.Mutex

	mu                  sync.Mutex
	total, done, failed int
	running             []*Member
	began               time.Time
}

// Member is one of them.
type Member struct {
	group *Group
	name  string
	state state
}

// OpenGroup begins to show the progress of so many pieces of work. Options.Check must have found no mistake.
func OpenGroup(o Options, total int) *Group {
	g := &Group{mode: o.resolved(), options: o, total: total, began: o.Now()}
	switch g.mode {
	case TTY:
		g.live = newLive(o.Stderr, g.lines)
	case Plain:
		g.plain = newPlain(writer{g, o.Stderr}, g.status)
	}
	return g
}

// Begin begins to show work of that name.
func (g *Group) Begin(name string) *Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &Member{group: g, name: name, state: state{began: g.options.Now()}}
	g.running = append(g.running, m)
	return m
}

// End ends the display of the member's work.
func (m *Member) End(failed bool) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done++
	if failed {
		g.failed++
	}
	for i, other := range g.running {
		if other == m {
			g.running = append(g.running[:i:i], g.running[i+1:]...)
			break
		}
	}
}

// Report receives an event of the member's work.
func (m *Member) Report(e progress.Event) {
	g := m.group
	e.Image = m.name
	g.mu.Lock()
	m.state.apply(e)
	line := m.line(m.state.begun())
	g.mu.Unlock()
	switch {
	case g.mode == JSON:
		text, err := json.Marshal(e)
		if err == nil { // always: the event was read from JSON
			fmt.Fprintf(g.Stderr(), "%s\n", text)
		}
	case e.Kind == progress.Warning:
		fmt.Fprintln(g.Stderr(), m.line("WARNING: "+e.Text))
	case g.plain != nil && e.Kind == progress.Begin:
		g.plain.line(line)
	}
}

// line returns a line of the member.
func (m *Member) line(text string) string { return m.name + ": " + text }

// Stdout returns standard output for the lines of the member's work.
func (m *Member) Stdout() io.WriteCloser { return &lines{out: m.group.Stdout(), member: m} }

// Stderr returns standard error for the lines of the member's work.
func (m *Member) Stderr() io.WriteCloser { return &lines{out: m.group.Stderr(), member: m} }

func (g *Group) stderr() io.Writer {
	if g.live != nil {
		return g.live
	}
	return g.options.Stderr
}

func (g *Group) stdout() io.Writer {
	if g.live != nil && sameTerminal(g.options.Stdout, g.options.Stderr) {
		return g.live
	}
	return g.options.Stdout
}

// writer writes whole lines to a stream that several goroutines share.
type writer struct {
	group *Group
	out   io.Writer
}

func (w writer) Write(text []byte) (int, error) {
	w.group.writing.Lock()
	defer w.group.writing.Unlock()
	return w.out.Write(text)
}

// Stdout returns standard output for lines that belong to no member.
func (g *Group) Stdout() io.Writer { return writer{g, g.stdout()} }

// Stderr returns standard error for lines that belong to no member.
func (g *Group) Stderr() io.Writer { return writer{g, g.stderr()} }

// Close ends the display. It may be called more than once.
func (g *Group) Close() {
	switch {
	case g.live != nil:
		g.live.close()
	case g.plain != nil:
		g.plain.close()
	}
}

// mostLines is how many lines the live block may have: a terminal should have room for them.
const mostLines = 16

// lines returns the lines of the live block: one for each piece of work, and one for all.
func (g *Group) lines(width int) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.options.Now()
	var all []string
	for i, m := range g.running {
		if i == mostLines {
			all = append(all, fmt.Sprintf("and %d more", len(g.running)-i))
			break
		}
		text := m.line(m.state.counter() + Printable(m.state.step.Title))
		if m.state.advance.Activity != "" {
			text += ": " + m.state.amount(now)
		}
		all = append(all, justify(text, clock(now.Sub(m.state.began)), max(width-1, 1)))
	}
	text := fmt.Sprintf("%d of %d images done", g.done, g.total)
	if g.failed > 0 {
		text += fmt.Sprintf(", %d failed", g.failed)
	}
	return append(all, justify(text, clock(now.Sub(g.began)), max(width-1, 1)))
}

// status returns the lines of the mode Plain between events.
func (g *Group) status() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := []string{}
	for _, m := range g.running {
		all = append(all, m.line(m.state.status(g.options.Now())))
	}
	return strings.Join(all, "\n")
}

// lines writes whole lines, each with the name of a member in front of it.
type lines struct {
	out    io.Writer
	member *Member

	mu   sync.Mutex
	part []byte // an incomplete line
}

// Write never fails: nobody may be reading, which is no reason to stop the work.
func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, text...)
	var whole strings.Builder
	for {
		line, rest, found := bytes.Cut(l.part, []byte("\n"))
		if !found {
			break
		}
		whole.WriteString(l.member.line(string(line)) + "\n")
		l.part = bytes.Clone(rest)
	}
	if whole.Len() > 0 {
		_, _ = io.WriteString(l.out, whole.String())
	}
	return len(text), nil
}

// Close writes the last line, if it has no end.
func (l *lines) Close() error {
	l.mu.Lock()
	unfinished := len(l.part) > 0
	l.mu.Unlock()
	if unfinished {
		_, _ = l.Write([]byte("\n"))
	}
	return nil
}
