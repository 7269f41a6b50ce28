// SPDX-License-Identifier: Apache-2.0

package archive

import "testing"

func TestRedactHidesOnlyCredentials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "",
		"http://mirror.example/debian":          "http://mirror.example/debian",
		"http://mirror.example/a@b":             "http://mirror.example/a@b",
		"file:///srv/a@b":                       "file:///srv/a@b",
		"http://joe:geheim@mirror.example/d":    "http://joe:xxxxx@mirror.example/d",
		"http://joe:@mirror.example/d":          "http://joe:xxxxx@mirror.example/d",
		"http://token@mirror.example:80/d":      "http://xxxxx@mirror.example:80/d",
		"http://j%40e:ge%2Fheim@mirror.example": "http://j%40e:xxxxx@mirror.example",
		"//joe:geheim@mirror.example/d":         "//joe:xxxxx@mirror.example/d",
		"joe:geheim@mirror.example/d":           "(secret)",
		"token@mirror.example/d":                "(secret)",
		"http://joe:ge heim@mirror.example/":    "(secret)",
		"http://joe:geheim@[bad":                "(secret)",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
