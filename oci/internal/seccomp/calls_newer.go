// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !ppc64le && !s390x

package seccomp

// olderCalls do not exist here.
var olderCalls []Numbered
