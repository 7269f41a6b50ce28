// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

const (
	// jsonInterval is the least time between two Advance events of one activity in the mode JSON.
	jsonInterval = 200 * time.Millisecond
	// rateWindow is the time over which a rate is measured.
	rateWindow = 5 * time.Second
	// leastBar is the least width at which a bar says more than its percentage.
	leastBar = 10
)

// state is what the events so far amount to.
type state struct {
	began time.Time
	// step is the last Begin, and steps the number of all steps.
	step      progress.Event
	stepBegan time.Time
	steps     int
	// titles are those of the steps after the step number planned.
	titles  []string
	planned int
	// advance is the last Advance of the step; its Activity is empty if there is none.
	advance progress.Event
	// samples are the Advance events of the activity within rateWindow, and one before it.
	samples []progress.Event
	// sent is when the last Advance counted as due.
	sent time.Time
	// took is how long the finished steps took, and expected how long steps took in earlier builds, both by title.
	took, expected map[string]time.Duration
}

// apply applies an event. due reports whether an Advance is far enough from the last one to be worth a line.
func (s *state) apply(e progress.Event) (due bool) {
	s.steps = e.Steps
	switch e.Kind {
	case progress.Plan:
		s.titles, s.planned = e.Titles, e.Step
	case progress.Begin:
		s.step, s.stepBegan = e, e.Time
		s.advance, s.samples = progress.Event{}, nil
	case progress.Advance:
		due = e.Activity != s.advance.Activity || e.Time.Sub(s.sent) >= jsonInterval || e.Done == e.Total
		if due {
			s.sent = e.Time
		}
		s.addSample(e)
	case progress.End:
		if !s.step.Cached {
			if s.took == nil {
				s.took = map[string]time.Duration{}
			}
			s.took[s.step.Title] += e.Time.Sub(s.stepBegan)
		}
	}
	return due
}

func (s *state) addSample(e progress.Event) {
	if e.Activity != s.advance.Activity || e.Done < s.advance.Done {
		s.samples = nil
	}
	s.advance, s.samples = e, append(s.samples, e)
	for len(s.samples) > 2 && e.Time.Sub(s.samples[1].Time) >= rateWindow {
		s.samples = s.samples[1:]
	}
}

// rate returns bytes per second; 0 if that is not known.
func (s *state) rate(now time.Time) float64 {
	if len(s.samples) < 2 || s.advance.Unit != progress.Bytes {
		return 0
	}
	// Up to now: where nothing arrives, the rate falls.
	seconds := now.Sub(s.samples[0].Time).Seconds()
	if seconds < 1 {
		return 0
	}
	return float64(s.advance.Done-s.samples[0].Done) / seconds
}

// remaining returns how long the work will take if each step takes as long as in earlier builds. complete is false if
// that is not known of all steps.
func (s *state) remaining(now time.Time) (left time.Duration, complete bool) {
	if s.steps == 0 {
		return 0, false
	}
	complete = true
	for i, title := range append([]string{s.step.Title}, s.titles[min(max(s.step.Step-s.planned, 0), len(s.titles)):]...) {
		expected, known := s.expected[title]
		if i == 0 {
			expected = max(0, expected-now.Sub(s.stepBegan))
		}
		left += expected
		complete = complete && known
	}
	return left, complete
}

// lines returns the live block: the step with the time, and how far it is.
func (s *state) lines(now time.Time, width int) []string {
	times := clock(now.Sub(s.began))
	if left, complete := s.remaining(now); left >= time.Second {
		about := ", about "
		if !complete {
			about = ", more than "
		}
		times += about + clock(left) + " left"
	}
	// The last column stays free: terminals differ in where the cursor is after it.
	width = max(width-1, 1)
	lines := []string{justify(s.counter()+Printable(s.step.Title), times, width)}
	if s.advance.Activity != "" {
		lines = append(lines, s.bar(now, width))
	}
	return lines
}

// counter returns the number of the step: "[ 3/14] ".
func (s *state) counter() string {
	switch {
	case s.step.Step == 0:
		return ""
	case s.steps == 0:
		return fmt.Sprintf("[%d] ", s.step.Step)
	}
	total := fmt.Sprint(s.steps)
	return fmt.Sprintf("[%*d/%s] ", len(total), s.step.Step, total)
}

// bar returns the line that says how far the step is.
func (s *state) bar(now time.Time, width int) string {
	text := strings.Repeat(" ", len(s.counter())) + s.amount(now)
	if s.advance.Total <= 0 {
		return justify(text, "", width)
	}
	part := min(float64(s.advance.Done)/float64(s.advance.Total), 1)
	percent := fmt.Sprintf("%3.0f%%", part*100)
	room := width - runewidth.StringWidth(text) - len(percent) - len(" [] ")
	if room < leastBar {
		return justify(text, percent, width)
	}
	filled := int(part * float64(room))
	return fmt.Sprintf("%s [%s%s] %s", text, strings.Repeat("=", filled), strings.Repeat(" ", room-filled), percent)
}

// amount describes the last Advance: "download 45.1 of 120.3 MB, 8.2 MB/s".
func (s *state) amount(now time.Time) string {
	a := s.advance
	text := Printable(a.Activity)
	switch {
	case a.Text != "":
		text += ": " + Printable(a.Text)
	case a.Unit == progress.Bytes && a.Total > 0:
		text += fmt.Sprintf(" %.1f of %.1f MB", megabytes(a.Done), megabytes(a.Total))
	case a.Unit == progress.Bytes:
		text += fmt.Sprintf(" %.1f MB", megabytes(a.Done))
	case a.Total > 0:
		text += fmt.Sprintf(" %d of %d %s", a.Done, a.Total, a.Unit)
	case a.Unit != "":
		text += fmt.Sprintf(" %d %s", a.Done, a.Unit)
	}
	if rate := s.rate(now); rate > 0 {
		text += fmt.Sprintf(", %.1f MB/s", rate/1e6)
	}
	return text
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// begun returns the line of the mode Plain for the beginning of the step.
func (s *state) begun() string {
	line := s.counter() + Printable(s.step.Title)
	if s.step.Cached {
		line += " (cached)"
	}
	return line
}

// status returns the line of the mode Plain while the step goes on.
func (s *state) status(now time.Time) string {
	line := s.counter() + Printable(s.step.Title) + ": "
	if s.advance.Activity != "" {
		line += s.amount(now) + ", "
	}
	return line + clock(now.Sub(s.stepBegan))
}

// clock formats a duration in full seconds: "1m12s".
func clock(d time.Duration) string { return d.Truncate(time.Second).String() }

// justify puts left and right at the ends of a line, and cuts left off where both do not fit.
func justify(left, right string, width int) string {
	if right == "" || runewidth.StringWidth(right)+leastBar > width {
		return runewidth.Truncate(left, width, "…")
	}
	room := width - runewidth.StringWidth(right) - 1
	left = runewidth.Truncate(left, room, "…")
	return left + strings.Repeat(" ", room-runewidth.StringWidth(left)+1) + right
}

// Printable replaces what would move the cursor of a terminal: file names are in titles.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
