// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"testing"
)

func TestRootTakesARangeThatIsNobodys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		want       uint64
	}{
		{"none", "", ownFirst},
		{"of another", "alice:100000:65536\n", ownFirst},
		{"root's", "alice:100000:65536\nroot:165536:65536\n", 165536},
		{"root's by its number", "0:200000:131072\n", 200000},
		{"root's, too short", "root:200000:65535\n", ownFirst},
		{"root's, of real users", "root:1000:100000\n", ownFirst},
		{"the default is another's", fmt.Sprintf("alice:%d:65536\n", ownFirst), ownFirst + ownCount},
		{"the default's end is another's", fmt.Sprintf("alice:%d:1\nbob:%d:1\n", ownFirst+ownCount-1,
			ownFirst+ownCount), ownFirst + 2*ownCount},
	} {
		if got, err := ownRange([]byte(tt.file)); err != nil || got != tt.want {
			t.Errorf("%s: got %d (%v), want %d", tt.name, got, err, tt.want)
		}
	}
	if got, err := ownRange(fmt.Appendf(nil, "alice:%d:%d\n", ownFirst, ownEnd-ownFirst)); err == nil {
		t.Errorf("all ids are another's: got %d", got)
	}
}

// Each id is named once on either side, or the kernel refuses the map.
func TestSwappedIDsAreAll(t *testing.T) {
	t.Parallel()
	for start, want := range map[uint64]string{
		ownFirst: "0 1879048192 65536\n65536 65536 1878982656\n1879048192 0 65536\n1879113728 1879113728 2415853567\n",
		ownCount: "0 65536 65536\n65536 0 65536\n131072 131072 4294836223\n",
	} {
		if got := lines(swapArgs(start)); got != want {
			t.Errorf("%d: got\n%s\nwant\n%s", start, got, want)
		}
	}
}
