// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSubIDsSumsAllLinesOfAUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		want       []idRange
	}{
		{"by name", "bob:100000:65536\nalice:165536:65536\n", []idRange{{165536, 65536}}},
		{"by number", "1000:100000:65536\n", []idRange{{100000, 65536}}},
		{"both, unsorted", "alice:300000:10\n1000:100000:20\nalice:200000:30",
			[]idRange{{100000, 20}, {200000, 30}, {300000, 10}}},
		{"the same twice", "alice:100000:65536\n1000:100000:65536\n", []idRange{{100000, 65536}}},
		{"overlapping", "alice:100000:10\nalice:100005:10\nalice:100002:3\n", []idRange{{100000, 10}, {100010, 5}}},
		{"an empty name is nobody's", ":100000:65536\n", nil},
		{"root's own id", "alice:0:65536\n", nil},
		{"more than there are", "alice:100000:4294967296\nalice:99999999999999999999:1\n", nil},
		{"a name like the number of another", "10000:5:5\nalice2:5:5\n", nil},
		{"broken lines", "\n# comment\nalice\nalice:1\nalice:x:1\nalice:1:0\n:1:1\nalice:100000:-1\n", nil},
	} {
		got, err := parseSubIDs(strings.NewReader(tt.file), "alice", 1000)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseGetsubids(t *testing.T) {
	t.Parallel()
	got := parseGetsubids([]byte("0: alice 300000 65536\n1: alice 100000 65536\nError fetching ranges\n"))
	if want := []idRange{{100000, 65536}, {300000, 65536}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMapArgsPutTheCallerFirst(t *testing.T) {
	t.Parallel()
	got := strings.Join(mapArgs(1000, []idRange{{100000, 20}, {200000, 30}}), " ")
	if want := "0 1000 1 1 100000 20 21 200000 30"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
