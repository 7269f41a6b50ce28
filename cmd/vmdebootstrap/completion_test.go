// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestShellsCompleteWhatABuildHasLeft(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	o.build(state)
	out, err := vmdebootstrap(t, "__complete", "--state-dir="+state, "--arch=amd64", "--distribution=trixie",
		"--package", "debo").Output()
	if err != nil || !strings.HasPrefix(string(out), "debootstrap\n") {
		t.Errorf("got %q, %v, want debootstrap", out, err)
	}
	out, err = vmdebootstrap(t, "__complete", "cache", "remove", "--state-dir="+state, "").Output()
	if err != nil || !strings.Contains(string(out), "\ttoolbox:trixie") {
		t.Errorf("got %q, %v, want IDs with their titles", out, err)
	}
}
