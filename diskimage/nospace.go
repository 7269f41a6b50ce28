// SPDX-License-Identifier: Apache-2.0

package diskimage

import "fmt"

// Error returns the numbers: for blocks also the shortfall in MiB.
func (e *NoSpaceError) Error() string {
	if e.BlockSize == 0 {
		return fmt.Sprintf("not enough %s: %d needed, %d available", e.What, e.Needed, e.Available)
	}
	return fmt.Sprintf("not enough %s of %d bytes: %d needed, %d available: the file system must grow by at least %s",
		e.What, e.BlockSize, e.Needed, e.Available, mebibytes(e.shortfall()))
}

// shortfall returns the missing bytes, or the largest number if they do not fit into 64 bits.
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

// mebibytes formats a size for a sentence. It rounds up to the next MiB, so that the printed size
// suffices.
func mebibytes(s Size) string {
	n := uint64(s / MiB)
	if s%MiB != 0 {
		n++
	}
	return fmt.Sprintf("%d MiB", n)
}
