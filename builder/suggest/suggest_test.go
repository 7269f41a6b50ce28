// SPDX-License-Identifier: Apache-2.0

package suggest

import "testing"

func TestDistanceCountsASwapOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1},
		{"amd46", "amd64", 1}, {"gtp", "gpt", 1}, {"kitten", "sitting", 3}, {"roto-type", "roottype", 2},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("Distance(%q, %q): got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestQuestionAsksForTheNearestNames(t *testing.T) {
	t.Parallel()
	names := []string{"ext2", "ext3", "ext4", "btrfs", "xfs", "squashfs", "x"}
	for word, want := range map[string]string{
		"ext5":  " (did you mean ext2 or ext3 or ext4?)",
		"brtfs": " (did you mean btrfs?)",
		"xsf":   " (did you mean xfs?)",
		"ntfs":  "",
		"":      "",
		"y":     "", // one letter for another is another word
	} {
		if got := Question(word, names); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
