// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"strings"
	"testing"
)

// TestKernelsAreWrittenAsTheHookDoes runs the hook with the same kernels.
func TestKernelsAreWrittenAsTheHookDoes(t *testing.T) {
	t.Parallel()
	kernels := []Kernel{{"6.12.57+deb13-amd64", true}, {"6.12.57+deb13-amd64.old", false}, {"6.9.7-amd64", true}}
	for prefix, file := range map[string]string{"/boot": "extlinux.conf", "": "boot/extlinux.conf"} {
		m := newMachine(t, "root=UUID=x ro quiet")
		for _, k := range kernels {
			m.write("boot/vmlinuz-"+k.Version, "")
			if k.Initrd {
				m.write("boot/initrd.img-"+k.Version, "")
			}
		}
		config := strings.Replace(string(Config{}.Bytes()), "timeout 1\n", "timeout 50\n", 1) + "label memtest\n"
		m.write(file, config)
		got, ok := WithKernels([]byte(config), kernels, prefix, "root=UUID=x ro quiet")
		m.mustHook()
		if want := m.read(file); !ok || string(got) != want {
			t.Errorf("%s: got %t\n%s\nthe hook wrote\n%s", file, ok, got, want)
		}
		if again, ok := WithKernels(got, kernels, prefix, "root=UUID=x ro quiet"); !ok || string(again) != string(got) {
			t.Errorf("%s: a second time: got %t\n%s", file, ok, again)
		}
	}
}

func TestConfigurationsWithoutMarksAreLeftAlone(t *testing.T) {
	t.Parallel()
	marks := kernelsBegin + kernelsEnd
	for _, config := range []string{"", "label mine\n", kernelsBegin, kernelsEnd + kernelsBegin, marks + marks} {
		if got, ok := WithKernels([]byte(config), nil, "", "x"); ok || string(got) != config {
			t.Errorf("%q: got %q, %t", config, got, ok)
		}
	}
}
