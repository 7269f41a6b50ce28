// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// timedWriter keeps what is written, and the longest time between two writes.
type timedWriter struct {
	bytes.Buffer
	mu      sync.Mutex
	last    time.Time
	silence time.Duration
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.silence, w.last = max(w.silence, now.Sub(w.last)), now
	return w.Buffer.Write(b)
}

// work reports a piece of work with a step of 65 s without a sign of life, on the clock of a synctest bubble.
func work(d *Display) {
	r := progress.New(d.Report, time.Now, nil)
	r.Begin("read the package lists")
	r.Plan([]string{"make the toolbox", "get packages", "install a"})
	time.Sleep(1050 * time.Millisecond) // between two frames of the live block
	r.Cached("make the toolbox")
	r.Begin("get packages")
	for i := range int64(10) {
		r.Advance("download", i*1_000_000, 20_000_000, progress.Bytes)
		time.Sleep(100 * time.Millisecond)
	}
	r.Begin("install a")
	r.Message("install a")
	r.Warn("a is old")
	time.Sleep(65 * time.Second)
	r.Finish(progress.Result{Seconds: 67, Usage: r.Usage()})
	d.Close()
}

func TestPlainIsNeverSilentForTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &timedWriter{last: time.Now()}
		work(Open(Options{Mode: Plain, Stdout: io.Discard, Stderr: w, Now: time.Now}))
		want := `[1] read the package lists
[2/4] make the toolbox (cached)
[3/4] get packages
[4/4] install a
WARNING: a is old
[4/4] install a: 9s
[4/4] install a: 18s
[4/4] install a: 27s
[4/4] install a: 36s
[4/4] install a: 45s
[4/4] install a: 54s
[4/4] install a: 1m3s
`
		if got := w.String(); got != want || w.silence > 10*time.Second {
			t.Errorf("silent for %s; got:\n%s\nwant:\n%s", w.silence, got, want)
		}
		w.Reset()
		if time.Sleep(time.Minute); w.Len() > 0 {
			t.Errorf("after the end: %q", w.String())
		}
	})
}

func TestLiveBlockIsNeverSilentForTwoSecondsAndErased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &timedWriter{last: time.Now()}
		d := &Display{mode: TTY, options: Options{Stderr: w, Now: time.Now}, state: state{began: time.Now()}}
		d.live = newLive(w, d.lines, mpb.WithAutoRefresh(), mpb.WithWidth(60))
		work(d)
		if w.silence > 2*time.Second {
			t.Errorf("silent for %s", w.silence)
		}
		got := w.String()
		for _, want := range []string{
			"\x1b[J[3/4] get packages                                       1s\n" +
				"      download 1.0 of 20.0 MB [=                     ]   5%\n",
			"WARNING: a is old\n[4/4] install a",
			"1m5s\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %.1000q", want, got)
			}
		}
		if shown := screen(got, 60); !slices.Equal(shown, []string{"WARNING: a is old", ""}) {
			t.Errorf("at the end the screen shows %q", shown)
		}
	})
}

// screen returns the lines that a terminal of so many columns shows, with the line of the cursor last.
func screen(output string, width int) []string {
	lines := []string{""}
	for output != "" {
		if up, rest, found := strings.Cut(output, "A\x1b[J"); found && strings.HasPrefix(up, "\x1b[") &&
			strings.Trim(up[2:], "0123456789") == "" {
			n := 0
			for _, digit := range up[2:] {
				n = n*10 + int(digit-'0')
			}
			lines = append(lines[:max(len(lines)-1-n, 0)], "")
			output = rest
			continue
		}
		last := len(lines) - 1
		switch r := []rune(output)[0]; r {
		case '\n':
			lines = append(lines, "")
			output = output[1:]
		default:
			if len([]rune(lines[last])) == width {
				lines = append(lines, "")
				last++
			}
			lines[last] += string(r)
			output = output[len(string(r)):]
		}
	}
	return lines
}

func TestJSONIsAnEventALine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &timedWriter{last: time.Now()}
		work(Open(Options{Mode: JSON, Stdout: io.Discard, Stderr: w, Now: time.Now}))
		var kinds []progress.Kind
		var last progress.Event
		for line := range strings.Lines(w.String()) {
			last = progress.Event{}
			decoder := json.NewDecoder(strings.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&last); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			kinds = append(kinds, last.Kind)
		}
		want := []progress.Kind{
			progress.Begin, progress.Plan, progress.End, progress.Begin, progress.End, // cached
			progress.Begin, progress.Advance, progress.Advance, progress.Advance, progress.Advance, progress.Advance,
			progress.End, progress.Begin, progress.Message, progress.Warning, progress.End, progress.Summary,
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("got %q, want %q", kinds, want)
		}
		if r := last.Result; r == nil || r.Seconds != 67 || r.Steps != 3 || r.Cached != 1 {
			t.Errorf("the summary is %+v", last)
		}
	})
}

func TestNoneShowsWarningsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []string{None, Auto} {
			w := &timedWriter{last: time.Now()}
			work(Open(Options{Mode: mode, Stdout: io.Discard, Stderr: w, Term: "xterm", Now: time.Now}))
			if got := w.String(); got != "WARNING: a is old\n" {
				t.Errorf("%s: got %q", mode, got)
			}
		}
	})
}

// openTerminal returns the two ends of a terminal of that size: what a program has, and what its user sees.
func openTerminal(t *testing.T, columns, rows uint16) (program, user *os.File) {
	t.Helper()
	user, program, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close(); program.Close() })
	resize(t, program, columns, rows)
	return program, user
}

func resize(t *testing.T, terminal *os.File, columns, rows uint16) {
	t.Helper()
	if err := pty.Setsize(terminal, &pty.Winsize{Cols: columns, Rows: rows}); err != nil {
		t.Fatal(err)
	}
}

func TestAutoChoosesByTheTerminal(t *testing.T) {
	t.Parallel()
	terminal, _ := openTerminal(t, 80, 24)
	for _, tt := range []struct {
		mode, term string
		stderr     io.Writer
		want       string
		wrong      bool
	}{
		{Auto, "xterm", terminal, TTY, false},
		{Auto, "dumb", terminal, Plain, false},
		{Auto, "", terminal, Plain, false},
		{Auto, "xterm", io.Discard, None, false},
		{Plain, "xterm", io.Discard, Plain, false},
		{TTY, "dumb", terminal, TTY, false},
		{TTY, "xterm", io.Discard, TTY, true},
		{JSON, "xterm", terminal, JSON, false},
	} {
		o := Options{Mode: tt.mode, Term: tt.term, Stderr: tt.stderr}
		if got, err := o.resolved(), o.Check(); got != tt.want || (err != nil) != tt.wrong {
			t.Errorf("%s with TERM=%s: got %s, %v, want %s", tt.mode, tt.term, got, err, tt.want)
		}
	}
}

// readUntil reads what the user sees until it contains a text.
func readUntil(t *testing.T, user *os.File, text string) string {
	t.Helper()
	if err := user.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // so that a failure ends
		t.Fatal(err)
	}
	var all []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(all), text) {
		n, err := user.Read(buf)
		if err != nil {
			t.Fatalf("read %q, waiting for %q: %v", all, text, err)
		}
		all = append(all, buf[:n]...)
	}
	return string(all)
}

// Text of other streams stands above the block, whole lines only, and nothing of the block is left at its end.
func TestLiveBlockFollowsItsTerminal(t *testing.T) {
	t.Parallel()
	program, user := openTerminal(t, 80, 24)
	now := time.Now()
	d := Open(Options{Mode: Auto, Stdout: program, Stderr: program, Term: "xterm",
		Now: func() time.Time { return now }})
	r := progress.New(d.Report, func() time.Time { return now }, nil)
	r.Begin("install " + strings.Repeat("linux-image ", 20))
	r.Advance("unpack", 3, 9, progress.Packages)
	seen := ""
	for _, columns := range []int{80, 40, 200, 12} {
		resize(t, program, uint16(columns), 24)
		seen = readUntil(t, user, "\x1b[J"+strings.Join(d.lines(columns), "\r\n")+"\r\n")
	}
	if d.Stdout() != d.Stderr() {
		t.Error("standard output is the same terminal, but written past the block")
	}
	show := func(text string) {
		if _, err := io.WriteString(d.Stderr(), text); err != nil {
			t.Error(err)
		}
	}
	show("DEBUG a\nDEB")
	show("UG b\nunfinished")
	d.Close()
	d.Close()
	r.Begin("nothing shows this")
	show(", after the end\n")
	seen = seen[strings.LastIndex(seen, "\x1b[J")+len("\x1b[J"):] + readUntil(t, user, "the end\r\n")
	want := []string{"DEBUG a", "DEBUG b", "unfinished, after the end", ""}
	if got := screen(strings.ReplaceAll(seen, "\r", ""), 12*80); !slices.Equal(got, want) {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
	if regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(seen) {
		t.Errorf("there are colours, which NO_COLOR may forbid: %q", seen)
	}
}

func TestLinesFitAndHoldNoControlCharacters(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := state{began: now.Add(-time.Hour)}
	s.apply(progress.Event{Kind: progress.Begin, Time: now, Step: 3, Steps: 14, Title: "write \x1b[2J\r日本語.img"})
	write := progress.Event{Kind: progress.Advance, Time: now, Step: 3, Steps: 14, Activity: "write", Done: 1 << 30,
		Total: 2 << 30, Unit: progress.Bytes}
	s.apply(write)
	for width := range 201 {
		for _, line := range s.lines(now, width) {
			if w := runewidth.StringWidth(line); w > max(width-1, 1) {
				t.Errorf("in %d columns, %q has %d", width, line, w)
			}
			if strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("control characters in %q", line)
			}
		}
	}
	s.apply(progress.Event{Kind: progress.Advance, Time: now, Step: 3, Steps: 14, Activity: "console",
		Text: "\x1b[1m" + strings.Repeat("x", 300)})
	for width := range 201 {
		if line := s.lines(now, width)[1]; runewidth.StringWidth(line) > max(width-1, 1) ||
			strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("in %d columns: %q", width, line)
		}
	}
	s.apply(write)
	want := []string{
		"[ 3/14] write ?[2J?日本語.img                        1h0m0s",
		"        write 1073.7 of 2147.5 MB [=========         ]  50%",
	}
	if got := s.lines(now, 60); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRateAndRemainingTime(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	s := state{began: began, expected: map[string]time.Duration{"a": 10 * time.Second, "b": time.Minute}}
	s.apply(progress.Event{Kind: progress.Plan, Time: began, Steps: 3, Titles: []string{"a", "b", "c"}})
	s.apply(progress.Event{Kind: progress.Begin, Time: began, Step: 1, Steps: 3, Title: "a"})
	for i := range 21 {
		s.apply(progress.Event{Kind: progress.Advance, Time: at(i), Step: 1, Steps: 3, Activity: "download",
			Done: int64(i) * 1e6 * min(2, 1+int64(i)/10), Unit: progress.Bytes})
	}
	if got := s.rate(at(20)); got != 2e6 {
		t.Errorf("got %.0f bytes per second", got)
	}
	if got := s.rate(at(25)); got != 1e6 {
		t.Errorf("5 s later got %.0f bytes per second", got)
	}
	if left, complete := s.remaining(at(4)); left != 66*time.Second || complete {
		t.Errorf("got %s, complete: %v", left, complete)
	}
	s.expected["c"] = time.Second
	if left, complete := s.remaining(at(30)); left != 61*time.Second || !complete {
		t.Errorf("late: got %s, complete: %v", left, complete)
	}
	s.apply(progress.Event{Kind: progress.End, Time: at(31), Step: 1, Steps: 3, Title: "a"})
	s.apply(progress.Event{Kind: progress.Begin, Time: at(31), Step: 2, Steps: 3, Title: "b", Cached: true})
	s.apply(progress.Event{Kind: progress.End, Time: at(31), Step: 2, Steps: 3, Title: "b"})
	s.apply(progress.Event{Kind: progress.Begin, Time: at(31), Step: 3, Steps: 3, Title: "c"})
	if left, complete := s.remaining(at(31)); left != time.Second || !complete {
		t.Errorf("last step: got %s, complete: %v", left, complete)
	}
	if want := map[string]time.Duration{"a": 31 * time.Second}; !maps.Equal(s.took, want) {
		t.Errorf("steps took %v, want %v", s.took, want)
	}
}
