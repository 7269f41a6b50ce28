// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestAgesAreReadable(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	for ago, want := range map[time.Duration]string{
		30 * time.Second: "just now", 5 * time.Minute: "5 min ago", 3*time.Hour + time.Minute: "3 h ago",
		72 * time.Hour: "3 days ago",
	} {
		if got := age(now, now.Add(-ago)); got != want {
			t.Errorf("%s: got %q, want %q", ago, got, want)
		}
	}
	if got := age(now, time.Time{}); got != "unknown" {
		t.Errorf("the zero time: got %q, want unknown", got)
	}
}
