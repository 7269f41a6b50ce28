// SPDX-License-Identifier: Apache-2.0

// Package secret has a type for secret texts and one for URLs that may hold credentials. Both print, log and marshal
// without the secret, so that logs, plans and labels cannot reveal it by accident.
package secret

import (
	"log/slog"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// Text is a secret text: it prints, logs and marshals as "(secret)". Reveal returns the text itself, for the code that
// needs it.
type Text struct{ text string }

// New returns text as a secret.
func New(text string) Text { return Text{text} }

// Reveal returns the text itself.
func (s Text) Reveal() string { return s.text }

// IsZero reports whether the text is empty.
func (s Text) IsZero() bool { return s.text == "" }

// String implements fmt.Stringer.
func (s Text) String() string {
	if s.text == "" {
		return ""
	}
	return "(secret)"
}

// GoString implements fmt.GoStringer, so that %#v does not reveal the text either.
func (s Text) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (s Text) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Text) LogValue() slog.Value { return slog.StringValue(s.String()) }

// DigestText returns the hidden text, which a digest must include.
func (s Text) DigestText() string { return s.text }

// URL is a URL that may hold credentials: it prints, logs and marshals without them. Reveal returns the whole text, for
// the code that needs it.
type URL struct{ text string }

// NewURL returns text, which need not be a valid URL, as a URL.
func NewURL(text string) URL { return URL{text} }

// Reveal returns the text itself.
func (u URL) Reveal() string { return u.text }

// IsZero reports whether the text is empty.
func (u URL) IsZero() bool { return u.text == "" }

// String implements fmt.Stringer.
func (u URL) String() string { return archive.Redact(u.text) }

// GoString implements fmt.GoStringer, so that %#v does not reveal the credentials either.
func (u URL) GoString() string { return u.String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue implements slog.LogValuer.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// DigestText returns the text, which a digest must include, or "" if no part of it is hidden.
func (u URL) DigestText() string {
	if u.String() == u.text {
		return ""
	}
	return u.text
}

// Bare returns the URL without its credentials.
func (u URL) Bare() URL {
	parsed, err := url.Parse(u.text)
	if err != nil || parsed.User == nil {
		return u
	}
	return URL{strings.Replace(u.text, userinfo.FindString(u.text), "", 1)}
}

// Login returns the credentials; ok is false if there are none.
func (u URL) Login() (user string, password Text, ok bool) {
	parsed, err := url.Parse(u.text)
	if err != nil || parsed.User == nil {
		return "", Text{}, false
	}
	text, _ := parsed.User.Password()
	return parsed.User.Username(), New(text), true
}

// WithLogin returns the URL with credentials.
func (u URL) WithLogin(user string, password Text) URL {
	parsed, err := url.Parse(u.text)
	if err != nil {
		return u
	}
	parsed.User = url.UserPassword(user, password.Reveal())
	return URL{parsed.String()}
}

// Local returns the directory of a URL of the scheme file or copy, which apt knows; ok is false for others.
func (u URL) Local() (dir string, ok bool) {
	parsed, err := url.Parse(u.text)
	if err != nil || parsed.Scheme != "file" && parsed.Scheme != "copy" {
		return "", false
	}
	return path.Clean(parsed.Path), true
}

// Host returns the host with its port, and whether the scheme encrypts; "" if the text is not a URL.
func (u URL) Host() (host string, encrypted bool) {
	parsed, err := url.Parse(u.text)
	if err != nil {
		return "", false
	}
	return parsed.Host, parsed.Scheme == "https"
}

// Redacted reports whether the text comes from printing a URL: it has a placeholder instead of credentials.
func (u URL) Redacted() bool {
	parsed, err := url.Parse(u.text)
	return u.text == Hidden || err == nil && parsed.User != nil && u.DigestText() == ""
}

// userinfo matches the part of a URL before its host, including the @.
var userinfo = regexp.MustCompile(`[^/@\s]+@`)

// Hider returns a Replacer that hides the credentials of the URLs in the output of programs.
func Hider(urls ...URL) *strings.Replacer {
	var pairs []string
	for _, u := range urls {
		if u.DigestText() != "" {
			pairs = append(pairs, userinfo.FindString(u.text), userinfo.FindString(u.String()))
		}
	}
	return strings.NewReplacer(pairs...)
}

// Hidden is the placeholder for a password in --dump-config and logs. It cannot be a password itself.
var Hidden = New("x").String()
