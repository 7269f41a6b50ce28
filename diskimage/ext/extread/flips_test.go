// SPDX-License-Identifier: Apache-2.0

package extread_test

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// A quarter of the damaged images gave another tree and no error (issue 15, 5).
func TestFaultyExt4IsAnErrorOrTheSameTree(t *testing.T) {
	t.Parallel()
	for _, features := range []string{ext.E2fsprogs144, ext.E2fsprogs147} {
		t.Run(features, func(t *testing.T) {
			t.Parallel()
			image, data := damageable(t, diskimage.Filesystem{Type: "ext4", Features: features})
			fstest.TestFlips(t, fstest.Flips{Open: open, Image: image, Skip: data})
		})
	}
}
