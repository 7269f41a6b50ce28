// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"slices"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

func TestExtlinuxStepLeavesAHookForLaterKernels(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/boot/": ""})
	configure := step.Extlinux{Directory: "/boot", SerialBaud: 115200, Arguments: "root=UUID=x ro"}
	if err := runStep(t, f, configure); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/kernel/postinst.d/zz-update-extlinux": string(syslinux.KernelHook()),
		"/etc/kernel/postrm.d/zz-update-extlinux":   "-> ../postinst.d/zz-update-extlinux",
		"/etc/kernel/cmdline":                       "root=UUID=x ro\n",
		"/boot/extlinux.conf":                       string(syslinux.Config{SerialBaud: 115200}.Bytes()),
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if info, err := f.Lstat("/etc/kernel/postinst.d/zz-update-extlinux"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the hook: %v, %v", info, err)
	}
	if want := []string{"/etc/kernel/postinst.d/zz-update-extlinux"}; !slices.Equal(f.Transcript, want) {
		t.Errorf("ran %q, want %q", f.Transcript, want)
	}
}

func TestExtlinuxStepKeepsAConfigurationOfTheUser(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/extlinux.conf": "mine\n"})
	if err := runStep(t, f, step.Extlinux{Directory: "/", Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/extlinux.conf"); got != "mine\n" {
		t.Errorf("extlinux.conf: got %q", got)
	}
}

func TestKernelArgumentsOfTheUserComeLast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, before, want string }{
		{"none", "", "root=UUID=x ro console=ttyS0\n"},
		{"more", "quiet\nconsole=tty1\n", "root=UUID=x ro console=ttyS0 quiet console=tty1\n"},
		{"all", "root=/dev/vda1 rw\n", "root=/dev/vda1 rw\n"},
	} {
		f := targettest.New(t, map[string]string{step.KernelArgumentsFile: tt.before})
		if err := step.WriteKernelArguments(f, "root=UUID=x ro console=ttyS0"); err != nil {
			t.Fatal(err)
		}
		if got := f.Readable(step.KernelArgumentsFile); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
