//go:build !amd64 && !ppc64le && !s390x

package oci

// olderWindowCalls do not exist here.
var olderWindowCalls map[int32]shape
