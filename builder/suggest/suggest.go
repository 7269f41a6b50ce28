// SPDX-License-Identifier: Apache-2.0

// Package suggest finds the names that may have been meant by a mistyped word: options, keys, suites, packages.
package suggest

import (
	"cmp"
	"slices"
	"strings"
)

// most is how many names are suggested for one word.
const most = 3

// Limit returns the largest Distance at which a name may have been meant by the word.
func Limit(word string) int { return 1 + len(word)/5 }

// Names returns the names that may have been meant by the word, the nearest first, and at most three.
func Names(word string, names []string) []string {
	type match struct {
		name     string
		distance int
	}
	var matches []match
	for _, name := range names {
		if d := Distance(word, name); d <= Limit(word) && d < len(word) {
			matches = append(matches, match{name, d})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(a.distance, b.distance) })
	var near []string
	for _, m := range matches {
		if m.distance == matches[0].distance && len(near) < most && !slices.Contains(near, m.name) {
			near = append(near, m.name)
		}
	}
	return near
}

// Question returns " (did you mean NAME?)" for the end of an error message; "" if no name is near.
func Question(word string, names []string) string {
	near := Names(word, names)
	if len(near) == 0 {
		return ""
	}
	return " (did you mean " + strings.Join(near, " or ") + "?)"
}

// Distance returns the number of bytes to insert, delete, replace, or swap with their neighbour to turn a into b: the
// optimal string alignment distance.
func Distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(replace, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
