// SPDX-License-Identifier: Apache-2.0

package syslinux

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigNamesTheSerialLineFirst(t *testing.T) {
	t.Parallel()
	if got := string(Config{SerialBaud: 115200}.Bytes()); !strings.HasPrefix(got,
		"serial 0 115200\ndefault linux\ntimeout 1\n") {
		t.Errorf("got %q", got)
	}
	if got := string(Config{}.Bytes()); !strings.HasPrefix(got, "default linux\n") {
		t.Errorf("without a serial line: got %q", got)
	}
}

// machine is a directory that replaces / for the kernel hook.
type machine struct {
	t    *testing.T
	root string
}

// newMachine creates the files, with their names as content, and the arguments of kernels.
func newMachine(t *testing.T, arguments string, names ...string) machine {
	t.Helper()
	m := machine{t, t.TempDir()}
	m.write("etc/kernel/cmdline", arguments)
	for _, name := range names {
		m.write(name, name)
	}
	return m
}

func (m machine) write(name, text string) {
	m.t.Helper()
	file := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// hook runs the kernel hook as a kernel package does, and returns its output.
func (m machine) hook() (string, error) {
	m.t.Helper()
	text := strings.Replace(string(KernelHook()), "\nroot= ", "\nroot='"+m.root+"' ", 1)
	cmd := exec.CommandContext(m.t.Context(), "sh", "-s", "6.1", "/boot/vmlinuz-6.1")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustHook runs the kernel hook, which must not print anything.
func (m machine) mustHook() {
	m.t.Helper()
	if out, err := m.hook(); err != nil || out != "" {
		m.t.Fatalf("the kernel hook printed %q: %v", out, err)
	}
}

func TestKernelHookListsKernelsNewestFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "root=UUID=x  ro\nquiet\n", "boot/vmlinuz-6.9.7+deb13-amd64",
		"boot/initrd.img-6.9.7+deb13-amd64",
		"boot/vmlinuz-6.12.57+deb13-amd64", "boot/initrd.img-6.12.57+deb13-amd64",
		"boot/vmlinuz-6.12.57+deb13-amd64.old",
		"boot/vmlinuz-6.12~rc1-amd64", "boot/vmlinuz-6.99.dpkg-new", "boot/config-6.99", "boot/initrd.img-7.0")
	m.write("extlinux.conf", string(Config{SerialBaud: 9600}.Bytes()))
	m.mustHook()
	want := `label linux
	kernel /boot/vmlinuz-6.12.57+deb13-amd64
	append initrd=/boot/initrd.img-6.12.57+deb13-amd64 root=UUID=x ro quiet

label linux-6.12.57+deb13-amd64.old
	kernel /boot/vmlinuz-6.12.57+deb13-amd64.old
	append root=UUID=x ro quiet

label linux-6.12~rc1-amd64
	kernel /boot/vmlinuz-6.12~rc1-amd64
	append root=UUID=x ro quiet

label linux-6.9.7+deb13-amd64
	kernel /boot/vmlinuz-6.9.7+deb13-amd64
	append initrd=/boot/initrd.img-6.9.7+deb13-amd64 root=UUID=x ro quiet

`
	before, after, found := strings.Cut(string(Config{SerialBaud: 9600}.Bytes()), "# end of the kernels\n")
	if got := m.read("extlinux.conf"); !found || got != before+want+"# end of the kernels\n"+after {
		t.Errorf("extlinux.conf is\n%s\nwant between the marks\n%s", got, want)
	}
}

func TestKernelHookOnASeparateBoot(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "root=UUID=x ro", "boot/vmlinuz-6.1", "boot/initrd.img-6.1")
	m.write("boot/extlinux.conf", string(Config{}.Bytes()))
	m.write("extlinux.conf", "of an earlier time")
	m.mustHook()
	if got, want := m.read("boot/extlinux.conf"),
		"\tkernel /vmlinuz-6.1\n\tappend initrd=/initrd.img-6.1 root=UUID=x ro\n"; !strings.Contains(got, want) {
		t.Errorf("extlinux.conf is\n%s\nwant in it\n%s", got, want)
	}
}

func TestKernelHookKeepsTextOfTheAdministrator(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "root=UUID=x ro", "boot/vmlinuz-6.1")
	edited := strings.Replace(string(Config{}.Bytes()), "timeout 1\n", "timeout 50\nprompt 1\n", 1) +
		"label memtest\n\tkernel /memtest\n"
	m.write("extlinux.conf", edited)
	m.mustHook()
	first := m.read("extlinux.conf")
	for _, want := range []string{"timeout 50\nprompt 1\n", "kernel /boot/vmlinuz-6.1\n",
		"# end of the kernels\nlabel memtest\n\tkernel /memtest\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("extlinux.conf lost %q:\n%s", want, first)
		}
	}
	m.write("boot/vmlinuz-6.2", "")
	m.mustHook()
	if err := os.Remove(filepath.Join(m.root, "boot/vmlinuz-6.2")); err != nil {
		t.Fatal(err)
	}
	m.mustHook()
	if got := m.read("extlinux.conf"); got != first {
		t.Errorf("after a kernel came and went extlinux.conf is\n%s\nwant\n%s", got, first)
	}

	const own = "default mine\nlabel mine\n\tkernel /boot/vmlinuz-6.1\n"
	m.write("extlinux.conf", own)
	out, err := m.hook()
	if err != nil || !strings.Contains(out, "left as it is") {
		t.Errorf("without marks it printed %q: %v", out, err)
	}
	if got := m.read("extlinux.conf"); got != own {
		t.Errorf("without marks extlinux.conf became\n%s", got)
	}
}

func TestKernelHookDoesNotRewriteACorrectFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "root=UUID=x ro", "boot/vmlinuz-6.1")
	m.write("extlinux.conf", string(Config{}.Bytes()))
	m.mustHook()
	before, err := os.Stat(filepath.Join(m.root, "extlinux.conf"))
	if err != nil {
		t.Fatal(err)
	}
	m.mustHook()
	after, err := os.Stat(filepath.Join(m.root, "extlinux.conf"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the second run replaced extlinux.conf (%v)", err)
	}
	if left, _ := filepath.Glob(filepath.Join(m.root, "*.new")); left != nil {
		t.Errorf("it left %q", left)
	}
}

func TestKernelHookRequiresArguments(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "", "boot/vmlinuz-6.1")
	m.write("extlinux.conf", string(Config{}.Bytes()))
	if out, err := m.hook(); err == nil || !strings.Contains(out, "/etc/kernel/cmdline") {
		t.Errorf("without arguments it printed %q: %v", out, err)
	}
}

func TestKernelHookDoesNothingWithoutAConfiguration(t *testing.T) {
	t.Parallel()
	newMachine(t, "", "boot/vmlinuz-6.1").mustHook()
}
