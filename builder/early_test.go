// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// TestEarlyInitramfsIsOfTheExpectedPackages: a hook that installs a package, or another version of one, makes it
// useless.
func TestEarlyInitramfsIsOfTheExpectedPackages(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"Package: kmod\nVersion: 34-2\n":                              "",
		"Package: kmod\nVersion: 35-1\n":                              "expected, see kmod 34-2, kmod 35-1",
		"Package: kmod\nVersion: 34-2\n\nPackage: lvm2\nVersion: 2\n": "expected, see lvm2 2",
		"": "expected, see kmod 34-2",
	} {
		stopped := false
		early := &earlyInitramfs{
			packages: []*archive.Package{{Name: "kmod", Version: "34-2"}}, stop: func() { stopped = true },
			site: &step.Context{Target: targettest.New(t, map[string]string{dpkgStatus: status}), Out: step.NewTail(nil)},
		}
		_, err := early.wait(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want) || !stopped) {
			t.Errorf("with %q: %v, stopped: %v", status, err, stopped)
		}
	}
}

// TestEstimateOfBookwormHasNoUsrmerge: debootstrap asks for usr-is-merged in its place, so perl was downloaded in vain.
func TestEstimateOfBookwormHasNoUsrmerge(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(o *Options) { o.Distribution = "bookworm" })
	index := toolIndex(t, "apt", "usr-is-merged")
	if names := bootstrapNames(spec, index); !strings.Contains(strings.Join(names, " "), "usr-is-merged") {
		t.Errorf("got %q", names)
	}
	spec = testSpec(t, func(o *Options) { o.Distribution = "trixie" })
	if names := bootstrapNames(spec, index); strings.Contains(strings.Join(names, " "), "usr-is-merged") {
		t.Errorf("got %q for trixie", names)
	}
}

func TestStepsOfAnEarlyInitramfs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		steps []step.Step
		want  int
	}{
		{[]step.Step{step.Hostname{}, step.Fstab{}, step.RootPassword{}, step.Fsck{}, step.Initramfs{}, step.Crypttab{}}, 3},
		{[]step.Step{step.Fstab{}, step.Grow{}, step.Initramfs{}}, 0},
		{[]step.Step{step.CustomPackages{}, step.Initramfs{}}, 0},
		{[]step.Step{step.Fstab{}}, 0},
	} {
		if made := initramfsSteps(tt.steps); len(made) != tt.want {
			t.Errorf("of %v: %v", tt.steps, made)
		}
	}
}
