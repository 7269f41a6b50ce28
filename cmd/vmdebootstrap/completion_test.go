// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestShellsCompletePackagesOfASuiteThatABuildHasRead(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	o.build(state)
	out, err := vmdebootstrap(t, "__complete", "--state-dir="+state, "--arch=amd64", "--distribution=trixie",
		"--package", "debo").Output()
	if err != nil || !strings.HasPrefix(string(out), "debootstrap\n") {
		t.Errorf("got %q, %v, want debootstrap", out, err)
	}
}
