// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"testing"
	"unsafe"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

func TestSeccompStructuresHaveTheSizesOfTheKernel(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][2]uintptr{
		"seccomp_data":       {unsafe.Sizeof(seccomp.Data{}), 64},
		"seccomp_notif":      {unsafe.Sizeof(notification{}), 80},
		"seccomp_notif_resp": {unsafe.Sizeof(response{}), 24},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s has %d bytes, want %d", name, sizes[0], sizes[1])
		}
	}
}
