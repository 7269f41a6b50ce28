// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"os"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

func TestShippedAppArmorProfileMatches(t *testing.T) {
	t.Parallel()
	want := host.AppArmorProfile("/usr/{,local/}bin/vmdebootstrap")
	const shipped = "../contrib/apparmor/vmdebootstrap"
	if *update {
		if err := os.WriteFile(shipped, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(shipped)
	if err != nil || string(got) != want {
		t.Errorf("%s differs from AppArmorProfile (%v)", shipped, err)
	}
	if got, want := host.AppArmorPath(`/home/a{b}/*"\x`), `/home/a\{b\}/\*\"\\x`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
