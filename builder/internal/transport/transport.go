// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"strings"
)

// Transports of --export and --from: the part of a destination or source before the first colon.
const (
	OCI           = "oci"
	OCIArchive    = "oci-archive"
	DockerArchive = "docker-archive"
	Docker        = "docker"
	Storage       = "containers-storage"
	Tar           = "tar"
	Dir           = "dir"
	Disk          = "disk"
	Containerfile = "containerfile"
	// File is that of a source without one: a disk image or a tarball, which its content decides.
	File = ""
)

// NamesRegistry reports whether a name begins with a registry's host. By Docker's rule that is a first element that
// contains a dot or a colon, or is "localhost".
func NamesRegistry(name string) bool {
	host, _, more := strings.Cut(name, "/")
	return more && (host == "localhost" || strings.ContainsAny(host, ".:"))
}
