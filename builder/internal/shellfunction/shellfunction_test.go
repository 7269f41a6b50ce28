// SPDX-License-Identifier: Apache-2.0

package shellfunction

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestDigestIsThatOfTheFunction(t *testing.T) {
	t.Parallel()
	const own = "get () {\n\tif true; then\n\t\techo \"}\"\n\tfi\n}"
	sum := sha256.Sum256([]byte(own))
	for _, tt := range []struct{ name, script, want string }{
		{"alone", own + "\n", hex.EncodeToString(sum[:])},
		{"among others", "forget () {\n\ttrue\n}\n" + own + "\nget_it () {\n\ttrue\n}\n", hex.EncodeToString(sum[:])},
		{"not there", "forget () {\n\ttrue\n}\n", ""},
		{"twice", own + "\n" + own + "\n", ""},
		{"indented", "if true; then\n\tget () {\n\t\ttrue\n\t}\nfi\n", ""},
	} {
		if got := Digest(tt.script, "get"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRenameKeepsTheRest(t *testing.T) {
	t.Parallel()
	const script = "forget () {\n\tget\n}\nget() {\n\ttrue\n}\n"
	if got, want := Rename(script, "get", "own_get"), "forget () {\n\tget\n}\nown_get() {\n\ttrue\n}\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
