// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// Issue 14, 7: credentials come from netrc files, too.
func TestCredentialsComeFromNetrc(t *testing.T) {
	t.Parallel()
	const netrc = `# machine a.example login no password no
machine other.example login x password y
machine a.example
	login joe
	password p@ss:1
machine https://tls.example/debian login tls password t
machine http://port.example:8080 login port password q
machine token.example login token
machine path.example/private login path password r
`
	for mirror, want := range map[string]string{
		"http://a.example/debian":           "http://joe:p%40ss%3A1@a.example/debian",
		"https://a.example:8443/debian":     "https://joe:p%40ss%3A1@a.example:8443/debian",
		"http://x:z@a.example/debian":       "http://x:z@a.example/debian",
		"https://tls.example/debian":        "https://tls:t@tls.example/debian",
		"http://tls.example/debian":         "http://tls.example/debian",
		"https://tls.example/ubuntu":        "https://tls.example/ubuntu",
		"http://port.example:8080/debian":   "http://port:q@port.example:8080/debian",
		"http://port.example/debian":        "http://port.example/debian",
		"http://token.example/debian":       "http://token:@token.example/debian",
		"http://path.example/private/a_%20": "http://path:r@path.example/private/a_%20",
		"http://b.example/debian":           "http://b.example/debian",
		"file:///srv/mirror":                "file:///srv/mirror",
	} {
		if got := withLogin(secret.NewURL(mirror), secret.New(netrc)).Reveal(); got != want {
			t.Errorf("%s: got %s, want %s", mirror, got, want)
		}
	}
}
