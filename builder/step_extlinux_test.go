package builder

import (
	"slices"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

func TestExtlinuxStepLeavesAHookForLaterKernels(t *testing.T) {
	t.Parallel()
	f := newFakeTarget(t, map[string]string{"/boot/": ""})
	if err := runStep(t, f, extlinuxStep{Directory: "/boot", SerialBaud: 115200, Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/etc/kernel/postinst.d/zz-update-extlinux": string(syslinux.KernelHook()),
		"/etc/kernel/postrm.d/zz-update-extlinux":   "-> ../postinst.d/zz-update-extlinux",
		"/etc/kernel/cmdline":                       "root=UUID=x ro\n",
		"/boot/extlinux.conf":                       string(syslinux.Config{SerialBaud: 115200}.Bytes()),
	} {
		if got := f.readable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if info, err := f.Lstat("/etc/kernel/postinst.d/zz-update-extlinux"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the hook: %v, %v", info, err)
	}
	if want := []string{"/etc/kernel/postinst.d/zz-update-extlinux"}; !slices.Equal(f.transcript, want) {
		t.Errorf("ran %q, want %q", f.transcript, want)
	}
}

func TestExtlinuxStepKeepsAConfigurationOfTheUser(t *testing.T) {
	t.Parallel()
	f := newFakeTarget(t, map[string]string{"/extlinux.conf": "mine\n"})
	if err := runStep(t, f, extlinuxStep{Directory: "/", Arguments: "root=UUID=x ro"}); err != nil {
		t.Fatal(err)
	}
	if got := f.readable("/extlinux.conf"); got != "mine\n" {
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
		f := newFakeTarget(t, map[string]string{kernelArgumentsFile: tt.before})
		if err := writeKernelArguments(f, "root=UUID=x ro console=ttyS0"); err != nil {
			t.Fatal(err)
		}
		if got := f.readable(kernelArgumentsFile); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
