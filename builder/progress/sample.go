// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"os"
	"time"
)

// sampleInterval is how often Sample measures: often enough for a rate to look steady.
const sampleInterval = 500 * time.Millisecond

// Sample reports how far a part of the present step is that cannot report it itself, such as a file that a program
// writes. It calls measure regularly, and once more when stop is called; stop returns when measure is no longer
// running. total is 0 if it is unknown.
func (r *Reporter) Sample(activity string, total int64, unit Unit, measure func() int64) (stop func()) {
	if r == nil {
		return func() {}
	}
	ticker, done, ended := time.NewTicker(sampleInterval), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.Advance(activity, measure(), total, unit)
			case <-done:
				r.Advance(activity, measure(), total, unit)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// DirBytes returns the bytes in the files of a directory, without those of its directories; 0 if it cannot be read.
func DirBytes(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}
