// SPDX-License-Identifier: Apache-2.0

// Package problem is for mistakes in the options of a call: each names the option that holds it, so that all
// can be shown at once.
package problem

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in the Options.
type Problem struct {
	// Flag is the option that holds it, with its dashes.
	Flag string
	Err  error
}

func (p *Problem) Error() string { return p.Flag + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

// New makes the only element of a rule's result.
func New(flag, format string, args ...any) []error {
	return []error{&Problem{Flag: flag, Err: fmt.Errorf(format, args...)}}
}

// OneOf gives a problem unless value is one of choices.
func OneOf(flag, value string, choices []string) []error {
	if slices.Contains(choices, value) {
		return nil
	}
	return New(flag, "%q is not known: choose from %s", value, strings.Join(choices, ", "))
}
