// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"cmp"
	"slices"
	"strings"
)

// similar returns names of the index that may have been meant by name: a few letters apart, or with name as one of
// their words.
func (x *Index) similar(name string) []string {
	const most = 3
	limit := 1 + len(name)/5 // letters apart
	type match struct {
		name     string
		distance int
	}
	var matches []match
	for p := range x.newest() {
		candidate := p.Name
		distance := limit + 1
		if abs(len(candidate)-len(name)) <= limit {
			distance = editDistance(name, candidate)
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

// editDistance returns the number of bytes to insert, delete or replace to turn a into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
