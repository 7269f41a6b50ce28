// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"testing"
	"unsafe"
)

func TestBufferIsAligned(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 4096, hugePage, 2*hugePage + 1} {
		b, free := Buffer(n)
		if len(b) != n || cap(b) != n || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%hugePage != 0 {
			t.Errorf("%d bytes: got %d at %p", n, len(b), b)
		}
		b[0], b[n-1] = 1, 2
		if err := free(); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
