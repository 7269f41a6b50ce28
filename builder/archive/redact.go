// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"net/url"
	"strings"
)

// HiddenUser replaces credentials, as in net/url's Redacted.
const HiddenUser = "xxxxx"

// Redact returns a URL for messages and logs, without the password or, if it has none, without the user name, which can
// be a token. A text that is not a URL but may contain one is hidden as a whole.
func Redact(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.User == nil && (u.Opaque != "" || u.Host == "" && !strings.HasPrefix(u.Path, "/")):
		return "(secret)"
	case u.User == nil:
		return text
	}
	if _, has := u.User.Password(); !has {
		u.User = url.User(HiddenUser)
	}
	return u.Redacted()
}
