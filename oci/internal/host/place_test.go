// SPDX-License-Identifier: Apache-2.0

package host

import "testing"

func TestIDsAreCountedFromZero(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{
		"         0       1000          1\n         1     100000      65536\n": 65537,
		"         0          0 4294967295\n":                                   4294967295,
		"         0       1000          1\n      1000     100000      65536\n": 1,
		"      1000       1000          1\n":                                   0,
		"":                                                                     0,
	} {
		if got := mappedFromZero(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestIDsOfAContainerAreNotThoseOfTheEngine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place Place
		want  uint32
	}{{Place{Isolation: IsolationSingle}, 0}, {Place{Isolation: IsolationUserNS, OwnRange: true}, 65536}} {
		if got, err := tt.place.IDs(); err != nil || got != tt.want {
			t.Errorf("%+v: got %d, %v", tt.place, got, err)
		}
	}
}
