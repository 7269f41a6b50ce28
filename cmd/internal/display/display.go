// SPDX-License-Identifier: Apache-2.0

// Package display shows the events of builder/progress to people and to programs: as a live block on a terminal, as
// lines, or as JSON.
//
// All of it goes to standard error. Where a live block stands, whatever else is written to the terminal has to go
// through Stderr and Stdout, which write above the block.
package display

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// Modes are the values of --progress: how progress is shown.
var Modes = []string{Auto, TTY, Plain, JSON, None}

// The modes.
const (
	Auto  = "auto"  // TTY on a terminal that can move its cursor, Plain on any other terminal, else None
	TTY   = "tty"   // a live block
	Plain = "plain" // a line for each step, and at least one every plainInterval
	JSON  = "json"  // a line for each event
	None  = "none"  // nothing
)

// Options say how progress is shown, and where.
type Options struct {
	Mode string
	// Stdout and Stderr are the streams of the program; only an *os.File can be a terminal.
	Stdout, Stderr io.Writer
	// Term is the variable TERM: a terminal called dumb, or nothing, has no cursor to move.
	Term string
	Now  func() time.Time
}

// Display shows progress until Close.
type Display struct {
	mode    string
	options Options

	mu    sync.Mutex
	state state
	live  *live  // of the mode TTY
	plain *plain // of the mode Plain
	json  *json.Encoder
	// durations is the file of Remember; empty if there is none.
	durations string
}

// errNoTerminal is the mistake of a caller who asks for a live block elsewhere.
var errNoTerminal = errors.New("standard error is not a terminal")

// Check finds the mistake of a Mode that Stderr does not allow.
func (o Options) Check() error {
	if o.Mode == TTY && !isTerminal(o.Stderr) {
		return errNoTerminal
	}
	return nil
}

// resolved returns the mode that Auto stands for.
func (o Options) resolved() string {
	switch {
	case o.Mode != Auto:
		return o.Mode
	case !isTerminal(o.Stderr):
		return None
	case o.Term == "" || o.Term == "dumb":
		return Plain
	default:
		return TTY
	}
}

// Open begins to show progress. Check must have found no mistake.
func Open(o Options) *Display {
	d := &Display{mode: o.resolved(), options: o, state: state{began: o.Now()}}
	switch d.mode {
	case TTY:
		d.live = newLive(o.Stderr, d.lines)
	case Plain:
		d.plain = newPlain(o.Stderr, d.status)
	case JSON:
		d.json = json.NewEncoder(o.Stderr)
		d.json.SetEscapeHTML(false)
	}
	return d
}

// Shown reports whether people see progress, and so should see the result.
func (d *Display) Shown() bool { return d.mode == TTY || d.mode == Plain }

// Report receives an event. It is a sink of progress.New.
func (d *Display) Report(e progress.Event) {
	d.mu.Lock()
	due := d.state.apply(e)
	begun := d.state.begun()
	d.mu.Unlock()
	if e.Kind == progress.Warning && d.mode != JSON {
		fmt.Fprintln(d.Stderr(), "WARNING: "+e.Text)
	}
	switch {
	case d.plain != nil && e.Kind == progress.Begin:
		d.plain.line(begun)
	case d.json != nil && (e.Kind != progress.Advance || due):
		_ = d.json.Encode(e) // nobody may be reading, which is no reason to stop the work
	}
}

// Stderr returns standard error for everything that is no progress.
func (d *Display) Stderr() io.Writer {
	if d.live != nil {
		return d.live
	}
	return d.options.Stderr
}

// Stdout returns standard output for everything that is no progress.
func (d *Display) Stdout() io.Writer {
	if d.live != nil && sameTerminal(d.options.Stdout, d.options.Stderr) {
		return d.live
	}
	return d.options.Stdout
}

// Close ends the display, and erases a live block. It may be called more than once.
func (d *Display) Close() {
	switch {
	case d.live != nil:
		d.live.close()
	case d.plain != nil:
		d.plain.close()
	}
}

// lines returns the lines of the live block for a width in columns.
func (d *Display) lines(width int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.lines(d.options.Now(), width)
}

// status returns the line of the mode Plain between events.
func (d *Display) status() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.status(d.options.Now())
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// sameTerminal reports whether two streams are one terminal.
func sameTerminal(a, b io.Writer) bool {
	first, ok := a.(*os.File)
	second, both := b.(*os.File)
	if !ok || !both || !isTerminal(a) || !isTerminal(b) {
		return false
	}
	x, err := first.Stat()
	if err != nil {
		return false
	}
	y, err := second.Stat()
	return err == nil && os.SameFile(x, y)
}
