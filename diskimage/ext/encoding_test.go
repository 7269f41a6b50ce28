// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func TestHashIsThatOfDebugfs(t *testing.T) {
	t.Parallel()
	image := write(t, 8*diskimage.MiB, filesystem("ext4", "1.44"), fstest.Tree{fstest.Dir(".")})
	files := []string{
		"a", "abc", "abcd", "libfoo.so.1", "\xff\xfe\x80", "grüße",
		strings.Repeat("x", 31), strings.Repeat("y", 32), strings.Repeat("z", 255),
	}
	for _, seed := range []uuid.UUID{uuid.Nil, testSeed} {
		var commands []string
		for _, name := range files {
			commands = append(commands, fmt.Sprintf("dx_hash -h half_md4 -s %s %s", seed, name))
		}
		for i, output := range debugfs(t, image, commands) {
			want := field(t, output, `is 0x([0-9a-f]+) `)
			if got := fmt.Sprintf("%x", newHashSeed(seed).dirHash(files[i])); got != want {
				t.Errorf("hash of %q with seed %s: got %s, want %s", files[i], seed, got, want)
			}
		}
	}
}

func TestTimesThatDoNotFitBecomeTheNearest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		time time.Time
		want stamp
	}{
		{time.Time{}, stamp{}},
		{time.Unix(minSeconds, 5), stamp{minSeconds, 5}},
		{time.Unix(minSeconds-1, 5), stamp{minSeconds, 0}},
		{time.Unix(maxSeconds+1, 5), stamp{maxSeconds, 0}},
	}
	for _, tt := range tests {
		if got := newStamp(tt.time); got != tt.want {
			t.Errorf("newStamp(%v): got %v, want %v", tt.time, got, tt.want)
		}
	}
}
