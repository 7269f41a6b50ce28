// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

func TestSystemdBootStepTellsKernelInstall(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/": ""})
	if err := runStep(t, f, step.SystemdBoot{EntryToken: "debian", Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/kernel/cmdline":      "root=UUID=x ro\n",
		"/etc/kernel/entry-token":  "debian\n",
		"/etc/kernel/install.conf": "layout=uki\nuki_generator=ukify\n",
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
