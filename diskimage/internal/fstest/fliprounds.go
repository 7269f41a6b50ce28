// SPDX-License-Identifier: Apache-2.0

//go:build !faults

package fstest

// flipRounds is a short pick of the rounds of `make test-faults`.
const flipRounds = 400
