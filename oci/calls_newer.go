//go:build !amd64 && !ppc64le && !s390x

package oci

// olderCalls do not exist here.
var olderCalls []numbered
