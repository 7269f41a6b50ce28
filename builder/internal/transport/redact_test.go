// SPDX-License-Identifier: Apache-2.0

package transport

import "testing"

func TestRedactHidesCredentials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"docker://joe:geheim@registry.example/cache": "docker://xxxxx@registry.example/cache",
		"docker:joe:geheim@registry.example/cache":   "docker:xxxxx@registry.example/cache",
		"http://joe:ge@he/im@registry.example":       "http://xxxxx@registry.example",
		"joe:geheim@registry.example/cache":          "joe:xxxxx@registry.example/cache",
		"geheim@registry.example/cache":              "xxxxx@registry.example/cache",
		"docker://registry.example/cache@sha256:0a1": "docker://registry.example/cache@sha256:0a1",
		"docker://j:p@registry.example/x@sha256:0a1": "docker://xxxxx@registry.example/x@sha256:0a1",
		"oci:/srv/a@b:c@d":                           "oci:/srv/a@b:c@d",
		"registry.example/cache":                     "registry.example/cache",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
