// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"regexp"
	"slices"
	"strings"
)

// userinfo matches the part of an image name before the last @, and the transport in front of it.
var userinfo = regexp.MustCompile(`^([a-z-]+:(?://)?)?.*@`)

// Redact returns an image name without credentials, for messages. They do not belong there, but users may write them.
func Redact(text string) string {
	name, digest, found := strings.Cut(text, "@sha256:")
	if transport, _, _ := strings.Cut(text, ":"); slices.Contains(fileTransports, transport) ||
		strings.HasPrefix(text, "/") {
		return text
	}
	if name = userinfo.ReplaceAllString(name, "${1}xxxxx@"); found {
		name += "@sha256:" + digest
	}
	return name
}

// fileTransports are the transports of files and directories, whose names may contain an @.
var fileTransports = []string{OCI, OCIArchive, DockerArchive, Tar, Dir}
