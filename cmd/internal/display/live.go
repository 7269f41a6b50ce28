// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// refreshInterval is how often the live block is written, whether anything has changed or not.
const refreshInterval = 200 * time.Millisecond

// live is a block of lines at the bottom of a terminal. What is written to it appears above the block.
type live struct {
	out      io.Writer
	progress *mpb.Progress
	bar      *mpb.Bar

	mu   sync.Mutex
	part []byte // an incomplete line that was written
}

// newLive begins a block, whose lines for a width in columns lines returns. options are of tests.
func newLive(out io.Writer, lines func(width int) []string, options ...mpb.ContainerOption) *live {
	l := &live{out: out}
	l.progress = mpb.New(append([]mpb.ContainerOption{mpb.WithOutput(out), mpb.WithRefreshRate(refreshInterval)},
		options...)...)
	var rest []string
	first := func(w io.Writer, s decor.Statistics) error {
		all := lines(s.AvailableWidth)
		rest = all[1:]
		_, err := io.WriteString(w, all[0])
		return err
	}
	others := func(w io.Writer, _ decor.Statistics) error {
		_, err := io.WriteString(w, strings.Join(rest, "\n"))
		if len(rest) > 0 && err == nil {
			_, err = fmt.Fprintln(w)
		}
		return err
	}
	l.bar = l.progress.MustAdd(0, mpb.BarFillerFunc(first), mpb.BarFillerTrim(),
		mpb.BarExtender(mpb.BarFillerFunc(others), false))
	return l
}

// Write writes complete lines above the block, and keeps the rest until it is complete.
func (l *live) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, text...)
	end := bytes.LastIndexByte(l.part, '\n') + 1
	if err := l.print(l.part[:end]); err != nil {
		return 0, err
	}
	l.part = l.part[end:]
	return len(text), nil
}

// print writes text above the block, or to the terminal if the block has ended.
func (l *live) print(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if _, err := l.progress.Write(bytes.Clone(text)); err == nil {
		return nil
	}
	_, err := l.out.Write(text)
	return err
}

// close erases the block.
func (l *live) close() {
	l.bar.Abort(true)
	l.progress.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.print(l.part) // a terminal that is gone shows nothing
	l.part = nil
}
