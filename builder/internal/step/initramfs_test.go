// SPDX-License-Identifier: Apache-2.0

package step

import (
	"io"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// TestInitramfsHasNoMachineIDOfTheBuild: dracut copies /etc/machine-id, and all copies of an image would have shared
// it.
func TestInitramfsHasNoMachineIDOfTheBuild(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef\n"
	for _, tt := range []struct {
		keep         bool
		before, seen string
	}{{false, id, uninitialized}, {true, id, id}, {false, "", ""}} {
		f := targettest.New(t, map[string]string{UpdateInitramfs: "", "boot/vmlinuz-7.2": "", machineIDName: tt.before})
		seen := "none"
		f.On = func([]string, io.Writer) error {
			seen = f.Readable(machineIDName)
			return nil
		}
		if err := (Initramfs{}).Run(t.Context(), &Context{Target: f, Out: NewTail(nil), KeepIdentity: tt.keep}); err != nil {
			t.Fatal(err)
		}
		if after := f.Readable(machineIDName); seen != tt.seen || after != tt.before {
			t.Errorf("of %q, it saw %q and left %q", tt.before, seen, after)
		}
	}
}
