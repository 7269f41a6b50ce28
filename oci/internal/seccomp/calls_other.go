// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package seccomp

// CompatArch and compatCalls are of the other kinds of programs that a machine runs: only PCs are known to.
const CompatArch = 0

var compatCalls []Numbered

// CompatMounts are none here.
var CompatMounts []Numbered
