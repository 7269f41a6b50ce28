// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"net/url"
	"strings"
)

// hiddenUser stands for credentials, as it does in net/url's Redacted.
const hiddenUser = "xxxxx"

// Redact gives a URL without what may be a secret in it, for messages and logs: the password, or else the name of the
// user, which can be a token. A text that is not a URL and may hold one is hidden as a whole.
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
		u.User = url.User(hiddenUser)
	}
	return u.Redacted()
}
