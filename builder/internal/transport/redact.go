// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"regexp"
	"slices"
	"strings"
)

// atPlace finds what stands before the last @ of a place in a registry, and the transport before it.
var atPlace = regexp.MustCompile(`^([a-z-]+:(?://)?)?.*@`)

// Redact is a place as somebody wrote it, for messages: credentials do not belong there, and are an easy mistake.
func Redact(text string) string {
	place, digest, found := strings.Cut(text, "@sha256:")
	if transport, _, _ := strings.Cut(text, ":"); slices.Contains(fileTransports, transport) ||
		strings.HasPrefix(text, "/") {
		return text
	}
	if place = atPlace.ReplaceAllString(place, "${1}xxxxx@"); found {
		place += "@sha256:" + digest
	}
	return place
}

// fileTransports are those of files and directories, whose names may hold an @.
var fileTransports = []string{OCI, OCIArchive, DockerArchive, Tar, Dir}
