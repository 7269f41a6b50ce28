// SPDX-License-Identifier: Apache-2.0

// Package guard keeps a panic of a parser from ending the program. What comes from a mirror, a registry or a
// user is read by many parsers, ours and libraries'; an input that one of them was not made for is an error
// of that input.
package guard

import (
	"fmt"
	"runtime/debug"
)

// Panic is the error that a panic became.
type Panic struct {
	// Value is what was given to panic, and Stack the trace of the goroutine, for a log.
	Value any
	Stack []byte
}

// Error says it in one line, without the trace.
func (p *Panic) Error() string { return fmt.Sprintf("the parser panicked: %v", p.Value) }

// Parse runs a parser. A panic in it is the error, a *Panic. It sees only panics of its own goroutine: what a parser
// starts beside itself needs a guard there.
func Parse(parse func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &Panic{value, debug.Stack()}
		}
	}()
	return parse()
}
