//go:build !amd64 && !arm64

package oci

// compatArch and compatCalls are of the other kinds of programs that a machine runs: only PCs are known to.
const compatArch = 0

var compatCalls []numbered

var compatMounts []numbered
