// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Issue 15: a cache of 7 GB was kept while 2.6 GB were free.
func TestCacheTakesNoMoreThanItLeavesFree(t *testing.T) {
	t.Parallel()
	const gb = diskimage.GB
	all := []types.Snapshot{{Size: int64(4 * gb)}, {Size: int64(3 * gb)}}
	for _, tt := range []struct{ free, limit, want diskimage.Size }{
		{free: 100 * gb, limit: 20 * gb, want: 20 * gb},
		{free: 100 * gb, limit: 5 * gb, want: 5 * gb},
		{free: 3 * gb, limit: 20 * gb, want: 5 * gb},
		{free: 0, limit: 20 * gb, want: 7 * gb / 2},
	} {
		if got := cacheRoom(all, tt.free, tt.limit); got != tt.want {
			t.Errorf("%s free, limit %s: got %s, want %s", tt.free, tt.limit, got, tt.want)
		}
	}
}

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
