// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"

	"go.podman.io/image/v5/copy"
	imagetypes "go.podman.io/image/v5/types"
)

// progressInterval is the time between two reports of one layer.
const progressInterval = 500 * time.Millisecond

// follow calls report with the bytes of all layers that a copy with these options has copied or skipped, until stop is
// called. Without report it does nothing.
func follow(options *copy.Options, report func(bytes int64)) (stop func()) {
	if report == nil {
		return func() {}
	}
	events, done, ended := make(chan imagetypes.ProgressProperties), make(chan struct{}), make(chan struct{})
	options.Progress, options.ProgressInterval = events, progressInterval
	go func() {
		defer close(ended)
		var total int64
		for {
			select {
			case e := <-events:
				total += bytesOf(e)
				report(total)
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// bytesOf returns the bytes that an event adds to those that are copied or skipped.
func bytesOf(e imagetypes.ProgressProperties) int64 {
	switch e.Event {
	case imagetypes.ProgressEventRead, imagetypes.ProgressEventDone:
		return int64(e.OffsetUpdate)
	case imagetypes.ProgressEventSkipped:
		return max(e.Artifact.Size, 0)
	}
	return 0
}

// writeProgress returns a report that sends the bytes to another process, which calls readProgress.
func writeProgress(w io.Writer) func(bytes int64) {
	return func(bytes int64) { fmt.Fprintln(w, bytes) } // the other one may have ended, and then so does this one
}

// readProgress calls report with what writeProgress sends, until the end of r.
func readProgress(r io.Reader, report func(bytes int64)) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if bytes, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
			report(bytes)
		}
	}
}
