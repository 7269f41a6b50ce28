//go:build loong64 || riscv64

package oci

// olderDenied are not there on these machines.
var olderDenied []uint32
