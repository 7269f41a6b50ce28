// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"cmp"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// similar returns names of the index that may have been meant by name: a few letters apart, or with name as one of
// their words.
func (x *Index) similar(name string) []string {
	const most = 3
	limit := suggest.Limit(name)
	type match struct {
		name     string
		distance int
	}
	var matches []match
	for p := range x.newest() {
		candidate := p.Name
		distance := limit + 1
		if abs(len(candidate)-len(name)) <= limit {
			distance = suggest.Distance(name, candidate)
		}
		if distance <= limit {
			matches = append(matches, match{candidate, distance})
		} else if len(name) > 3 && slices.Contains(strings.Split(candidate, "-"), name) {
			matches = append(matches, match{candidate, limit + len(candidate)})
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, m := range matches[:min(most, len(matches))] {
		names = append(names, m.name)
	}
	return names
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
