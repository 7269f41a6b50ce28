// SPDX-License-Identifier: Apache-2.0

package step

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Images with a read-only EFI system partition started with a failed unit, systemd-boot-random-seed.service.
func TestRandomSeedIsLeftAloneOnAReadOnlyPartition(t *testing.T) {
	t.Parallel()
	for _, installed := range []bool{true, false} {
		files := map[string]string{}
		if installed {
			files[seedUnit] = ""
		}
		f := targettest.New(t, files)
		if err := (Overlay{Roottype: "squashfs"}).Run(t.Context(), &Context{Target: f}); err != nil {
			t.Fatal(err)
		}
		text, err := f.ReadFile(SeedService)
		if written := strings.Contains(string(text), "\nConditionPathIsReadWrite=/boot/efi\n"); written != installed {
			t.Errorf("with the unit: %v: wrote %q (%v)", installed, text, err)
		}
	}
}
