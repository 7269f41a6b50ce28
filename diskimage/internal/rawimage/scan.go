// SPDX-License-Identifier: Apache-2.0

package rawimage

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// chunkSize is the number of bytes that a worker reads at once, unless a cluster is larger. It fits
// into the second-level cache and makes the cost of system calls small.
const chunkSize = 1 << 20

// Encoder appends the encoded form of a cluster to dst. It is used by one goroutine.
type Encoder func(dst, cluster []byte) ([]byte, error)

// ScanOptions specify the units in which an image is read, and how they are encoded.
type ScanOptions struct {
	// ClusterSize is the unit in bytes, a power of two.
	ClusterSize int
	// Workers is the number of goroutines that read and encode; 0 is one for each processor. The order and content
	// of the runs do not depend on it.
	Workers int
	// NewEncoder returns the encoder of one worker; nil leaves Run.Encoded empty.
	NewEncoder func() (Encoder, error)
}

// Run is a range of the disk without clusters of zeros.
type Run struct {
	Offset int64 // on the disk; a multiple of the cluster size
	// Data is one or more whole clusters, with zeros after the end of the disk.
	Data []byte
	// Encoded is the encoded form of each cluster.
	Encoded [][]byte
}

// Scan calls emit for all runs of the image, ordered by offset, never concurrently. The boundaries
// between runs are undefined, so emit must depend only on their clusters. The memory of a run is
// reused when emit returns. Scan stops at the first error, which may be emit's.
func (m *Image) Scan(ctx context.Context, opts ScanOptions, emit func(Run) error) error {
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	// One chunk being written, one being read by each worker, and as many waiting, so that no
	// worker is idle.
	chunks := 2*workers + 1
	free := make(chan *chunk, chunks)
	for range chunks {
		free <- &chunk{ready: make(chan struct{}, 1)}
	}
	jobs := make(chan *chunk, chunks)
	ordered := make(chan *chunk, chunks)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(ordered)
		defer close(jobs)
		return m.divide(opts.ClusterSize, func(start, end int64) error {
			select {
			case c := <-free:
				c.start, c.end = start, end
				jobs <- c    // has room for all chunks
				ordered <- c // so has this one
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range workers {
		group.Go(func() error { return m.work(ctx, opts, jobs) })
	}
	group.Go(func() error {
		for c := range ordered {
			select {
			case <-c.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, run := range c.runs {
				if err := emit(run); err != nil {
					return err
				}
			}
			free <- c
		}
		return nil
	})
	return group.Wait()
}

// divide yields the data of the image in ranges of whole clusters, none longer than a chunk.
func (m *Image) divide(clusterSize int, yield func(start, end int64) error) error {
	unit := int64(clusterSize)
	longest := max(unit, chunkSize)
	for next := int64(0); ; {
		start, end, ok, err := m.NextData(next)
		if err != nil || !ok {
			return err
		}
		// The cluster at the end of the previous range has been read, and may contain more data.
		start, end = max(next, start&^(unit-1)), RoundUp(end, unit)
		for ; start < end; start = next {
			next = min(end, start+longest)
			if err := yield(start, next); err != nil {
				return err
			}
		}
	}
}

// work reads and encodes chunks until the channel is closed.
func (m *Image) work(ctx context.Context, opts ScanOptions, jobs <-chan *chunk) error {
	var encode Encoder
	if opts.NewEncoder != nil {
		var err error
		if encode, err = opts.NewEncoder(); err != nil {
			return err
		}
	}
	for c := range jobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.fill(m, opts.ClusterSize, encode); err != nil {
			return err
		}
		c.ready <- struct{}{}
	}
	return nil
}

// chunk is a range of the disk and the runs found in it.
type chunk struct {
	start, end int64
	ready      chan struct{} // receives when runs is complete
	runs       []Run
	data       []byte
	encoded    []byte
}

// fill reads the range, and finds and encodes the runs in it.
func (c *chunk) fill(m *Image, clusterSize int, encode Encoder) error {
	length := int(c.end - c.start)
	if cap(c.data) < length {
		c.data = make([]byte, length)
	}
	c.data, c.runs, c.encoded = c.data[:length], c.runs[:0], c.encoded[:0]
	if err := m.read(c.data, c.start); err != nil {
		return err
	}
	for first := 0; first < length; {
		if IsZero(c.data[first : first+clusterSize]) {
			first += clusterSize
			continue
		}
		end := first + clusterSize
		for end < length && !IsZero(c.data[end:end+clusterSize]) {
			end += clusterSize
		}
		run := Run{Offset: c.start + int64(first), Data: c.data[first:end]}
		if err := c.encode(&run, clusterSize, encode); err != nil {
			return err
		}
		c.runs = append(c.runs, run)
		first = end
	}
	return nil
}

// encode encodes each cluster of a run.
func (c *chunk) encode(run *Run, clusterSize int, encode Encoder) error {
	if encode == nil {
		return nil
	}
	for first := 0; first < len(run.Data); first += clusterSize {
		before := len(c.encoded)
		var err error
		if c.encoded, err = encode(c.encoded, run.Data[first:first+clusterSize]); err != nil {
			return err
		}
		run.Encoded = append(run.Encoded, c.encoded[before:])
	}
	return nil
}
