// SPDX-License-Identifier: Apache-2.0

// Package problem describes mistakes in the options of a call. Each problem names its option, so that all of them can
// be shown at once.
package problem

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// Problem is one mistake in the options.
type Problem struct {
	// Flag is the option with the mistake, including its dashes.
	Flag string
	Err  error
}

func (p *Problem) Error() string { return p.Flag + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

// New returns a slice with one Problem, as the result of a rule.
func New(flag, format string, args ...any) []error {
	return []error{&Problem{Flag: flag, Err: fmt.Errorf(format, args...)}}
}

// Flatten returns the parts of joined errors, at any depth; nil for no error.
func Flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Flatten(e)...)
	}
	return all
}

// OneOf returns a problem unless value is one of choices.
func OneOf(flag, value string, choices []string) []error {
	if slices.Contains(choices, value) {
		return nil
	}
	return New(flag, "unknown value %q; want one of %s%s", value, strings.Join(choices, ", "),
		suggest.Question(value, choices))
}
