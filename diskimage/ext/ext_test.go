// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestE2fsckFindsNothing(t *testing.T) {
	t.Parallel()
	sizes := []diskimage.Size{
		2 * diskimage.MiB, 8*diskimage.MiB - 4096, 8 * diskimage.MiB, 12345678, 128*diskimage.MiB + 8192,
		131 * diskimage.MiB, 512*diskimage.MiB + 512, 2*diskimage.GiB + 4096*600, 5 * diskimage.GiB, 70 * diskimage.GiB,
	}
	for _, k := range kinds {
		for _, size := range sizes {
			if k.skips(size) {
				continue
			}
			t.Run(k.String()+"/"+size.String(), func(t *testing.T) {
				t.Parallel()
				fsckClean(t, write(t, size, filesystem(k.fsType, k.generation), smallTree()))
			})
		}
	}
}
