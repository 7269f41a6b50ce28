// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"strings"
)

// Transports of --export: what stands before the first colon of a destination.
const (
	OCI           = "oci"
	OCIArchive    = "oci-archive"
	DockerArchive = "docker-archive"
	Docker        = "docker"
	Storage       = "containers-storage"
	Tar           = "tar"
	Dir           = "dir"
)

// NamesRegistry reports whether a name begins with a host, by the rule of docker: there is a dot or a colon
// in it, or it is "localhost".
func NamesRegistry(name string) bool {
	host, _, more := strings.Cut(name, "/")
	return more && (host == "localhost" || strings.ContainsAny(host, ".:"))
}
