// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !ppc64le && !s390x

package supervise

// olderProcCalls do not exist here.
var olderProcCalls map[int32]shape
