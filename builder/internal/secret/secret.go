// SPDX-License-Identifier: Apache-2.0

// Package secret has types for texts that must not be seen, and for URLs that may hold credentials. They print, log and
// marshal without what is secret, so that neither logs nor plans nor labels can tell it by accident.
package secret

import (
	"log/slog"
	"net/url"
	"regexp"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// Text is a text that must not be seen: it prints, logs and marshals as "(secret)". Reveal gives it to the one
// place that needs it.
type Text struct{ text string }

// New keeps text.
func New(text string) Text { return Text{text} }

// Reveal gives the text itself.
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

// GoString implements fmt.GoStringer, so that %#v tells nothing either.
func (s Text) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (s Text) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Text) LogValue() slog.Value { return slog.StringValue(s.String()) }

// DigestText is what a digest must cover beyond what is seen.
func (s Text) DigestText() string { return s.text }

// URL is a URL that may hold credentials: it prints, logs and marshals without them. Reveal gives it to the
// one place that needs it.
type URL struct{ text string }

// NewURL keeps text, which need not be a URL.
func NewURL(text string) URL { return URL{text} }

// Reveal gives the text itself.
func (u URL) Reveal() string { return u.text }

// IsZero reports whether the text is empty.
func (u URL) IsZero() bool { return u.text == "" }

// String implements fmt.Stringer.
func (u URL) String() string { return archive.Redact(u.text) }

// GoString implements fmt.GoStringer, so that %#v tells no more.
func (u URL) GoString() string { return u.String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue implements slog.LogValuer.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// DigestText is the text if something of it is hidden.
func (u URL) DigestText() string {
	if u.String() == u.text {
		return ""
	}
	return u.text
}

// Redacted reports whether the URL has been printed before: its credentials are what stands for some.
func (u URL) Redacted() bool {
	parsed, err := url.Parse(u.text)
	return u.text == Hidden || err == nil && parsed.User != nil && u.DigestText() == ""
}

// userinfo finds what stands before the host of a URL, with the @.
var userinfo = regexp.MustCompile(`[^/@\s]+@`)

// Hider hides the credentials of URLs in what programs print that were given these.
func Hider(urls ...URL) *strings.Replacer {
	var pairs []string
	for _, u := range urls {
		if u.DigestText() != "" {
			pairs = append(pairs, userinfo.FindString(u.text), userinfo.FindString(u.String()))
		}
	}
	return strings.NewReplacer(pairs...)
}

// Hidden is what stands for a password in --dump-config and logs, and can therefore be none.
var Hidden = New("x").String()
