// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A filter of a single id asks about no call twice, and its jumps fit.
func TestFilterIsOneThatTheKernelTakes(t *testing.T) {
	t.Parallel()
	filter := Compile(OwnerCalls(unix.AUDIT_ARCH_X86_64))
	const most = 4096 // BPF_MAXINSNS
	if len(filter) > most {
		t.Errorf("%d instructions", len(filter))
	}
	for i, f := range filter {
		if f.Code&0x07 == unix.BPF_JMP && (i+1+int(f.Jt) >= len(filter) || i+1+int(f.Jf) >= len(filter)) {
			t.Errorf("instruction %d jumps out of %d", i, len(filter))
		}
	}
}
