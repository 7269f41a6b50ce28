// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// plainInterval is the longest silence of the mode Plain: users are promised a line at least every ten seconds.
const plainInterval = 9 * time.Second

// plain writes a line for each step, and one whenever there was none for plainInterval.
type plain struct {
	out io.Writer

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

// newPlain begins with silence. status returns the line that ends a silence.
func newPlain(out io.Writer, status func() string) *plain {
	p := &plain{out: out}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(plainInterval, func() { p.line(status()) })
	return p
}

// line writes a line, unless the display has ended.
func (p *plain) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	fmt.Fprintln(p.out, text)
	p.timer.Reset(plainInterval)
}

func (p *plain) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
}
