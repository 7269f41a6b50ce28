// SPDX-License-Identifier: Apache-2.0

package diskimage

import "fmt"

// Error returns the figures: in bytes with the shortfall for blocks, as numbers for inodes.
func (e *NoSpaceError) Error() string {
	if e.BlockSize == 0 {
		return fmt.Sprintf("not enough %s: %d needed, %d available", e.What, e.Needed, e.Available)
	}
	return fmt.Sprintf("not enough %s of %d bytes: %d needed, %d available: the file system must grow by at least %s",
		e.What, e.BlockSize, e.Needed, e.Available, mebibytes(e.shortfall()))
}

// shortfall is what is missing, in bytes; at its largest where that does not fit into 64 bits.
func (e *NoSpaceError) shortfall() Size {
	if e.Needed <= e.Available {
		return 0
	}
	missing := e.Needed - e.Available
	if bytes := missing * e.BlockSize; bytes/e.BlockSize == missing {
		return Size(bytes)
	}
	return ^Size(0)
}

// mebibytes prints a size for a sentence: rounded up to the next MiB, so that the figure is enough when followed.
func mebibytes(s Size) string {
	n := uint64(s / MiB)
	if s%MiB != 0 {
		n++
	}
	return fmt.Sprintf("%d MiB", n)
}
