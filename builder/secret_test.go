// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

func TestOutputOfProgramsHidesTheCredentialsOfURLs(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	out := step.NewTail(&all, secret.NewURL("http://joe:geheim@mirror.example/debian"),
		secret.NewURL("http://mirror.example/"), secret.NewURL("http://token@other.example"))
	for _, part := range []string{"I: get http://joe:geh", "eim@mirror.example/debian/x\nand http://token",
		"@other.example"} {
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{all.String(), out.String()} {
		if strings.Contains(text, "geheim") || strings.Contains(text, "token") ||
			!strings.Contains(text, "http://joe:xxxxx@mirror.example/debian/x") {
			t.Errorf("got %q", text)
		}
	}
}
