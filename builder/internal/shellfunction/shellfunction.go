// SPDX-License-Identifier: Apache-2.0

// Package shellfunction finds functions in shell scripts of Debian, so that one that is known by its digest can be
// replaced by another that does the same with fewer processes. A script with any other text keeps its own.
package shellfunction

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// Digest returns the SHA-256 of a function's text in hexadecimal, from its name to the last brace. It is "" if the
// script does not have exactly one function of that name, of which the first and the last line are not indented.
func Digest(script, name string) string {
	all := definition(name).FindAllString(script, -1)
	if len(all) != 1 {
		return ""
	}
	sum := sha256.Sum256([]byte(all[0]))
	return hex.EncodeToString(sum[:])
}

// Rename gives a function another name, under which a function that replaces it can call it.
func Rename(script, name, other string) string {
	return definition(name).ReplaceAllStringFunc(script, func(text string) string { return other + text[len(name):] })
}

// definition matches the definition of a function.
func definition(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?ms)^` + regexp.QuoteMeta(name) + ` ?\(\) \{( \()?$.*?^(\); )?\}$`)
}
