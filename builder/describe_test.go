// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"
)

func TestSBOMIsReadBackAsItIsPrinted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]SBOM{
		"spdx:a.json":           {"spdx", "a.json"},
		"cyclonedx:/x/b:1.json": {"cyclonedx", "/x/b:1.json"},
	} {
		got, err := ParseSBOM(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{"a.json": "FORMAT:FILE", "spdx": "names no file", "spdx:": "names no file",
		"spxd:a": "did you mean spdx?"} {
		if got, err := ParseSBOM(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v (%v), want an error with %q", text, got, err, want)
		}
	}
}
