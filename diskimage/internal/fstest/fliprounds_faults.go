// SPDX-License-Identifier: Apache-2.0

//go:build faults

package fstest

// flipRounds is the number of damaged images of each file system in `make test-faults`: minutes.
const flipRounds = 20_000
