// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Issue 14, 7: what the host trusts, and the credentials that it has for mirrors, are those of a build.
func TestCredentialsAndCertificatesOfTheHostAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"home/.netrc": "home", "other": "other", "etc/apt/auth.conf": "apt", "etc/apt/auth.conf.d/a.conf": "a",
		"etc/apt/auth.conf.d/a.bak": "b", "etc/ssl/certs/ca-certificates.crt": "system", "own.crt": "own",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		environ             []string
		netrc, certificates string
	}{
		{[]string{"HOME=" + filepath.Join(dir, "home")}, "home\napt\na\n", "system"},
		{[]string{"HOME=" + dir, "NETRC=" + filepath.Join(dir, "other")}, "other\napt\na\n", "system"},
		{[]string{sslCertFile + "=" + filepath.Join(dir, "own.crt")}, "apt\na\n", "own"},
		{[]string{sslCertFile + "=" + filepath.Join(dir, "missing.crt")}, "apt\na\n", ""},
	} {
		e := environment{environ: tt.environ, etc: filepath.Join(dir, "etc"), readFile: os.ReadFile}
		if got := e.netrc(); got != tt.netrc {
			t.Errorf("%q: credentials are %q, want %q", tt.environ, got, tt.netrc)
		}
		if got := string(e.certificates()); got != tt.certificates {
			t.Errorf("%q: certificates are %q, want %q", tt.environ, got, tt.certificates)
		}
	}
}
