// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"net/url"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// withLogin returns a URL with the credentials that a netrc file has for it, unless it has some itself.
func withLogin(u secret.URL, netrc secret.Text) secret.URL {
	if _, _, has := u.Login(); has || netrc.IsZero() {
		return u
	}
	parsed, err := url.Parse(u.Reveal())
	if err != nil || parsed.Host == "" {
		return u
	}
	var user string
	matches, found := false, false
	words := strings.Fields(withoutComments(netrc.Reveal()))
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "machine":
			if found {
				return u.WithLogin(user, secret.Text{})
			}
			i++
			matches = isMachine(words[i], parsed)
		case "login":
			i++
			if matches {
				user, found = words[i], true
			}
		case "password":
			i++
			if matches {
				return u.WithLogin(user, secret.New(words[i]))
			}
		}
	}
	if found {
		return u.WithLogin(user, secret.Text{})
	}
	return u
}

// isMachine reports whether the word after "machine" stands for the host of a URL: HOST as in netrc, or with more of
// the URL around it, [SCHEME://]HOST[:PORT][/PATH], as in apt_auth.conf(5).
func isMachine(machine string, u *url.URL) bool {
	if scheme, rest, ok := strings.Cut(machine, "://"); ok {
		if scheme != u.Scheme {
			return false
		}
		machine = rest
	}
	host, path, _ := strings.Cut(machine, "/")
	return (host == u.Host || host == u.Hostname()) && strings.HasPrefix(strings.TrimPrefix(u.Path, "/")+"/", path)
}

// withoutComments returns a netrc file without the lines that begin with #.
func withoutComments(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
