// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted returns a machine whose console shows texts; answer is called with each line that is
// sent and returns the output that follows.
func scripted(t *testing.T, answer func(line string) string, texts ...string) *VM {
	t.Helper()
	v := &VM{output: make(chan []byte, 100), ended: make(chan struct{})}
	for _, text := range texts {
		v.output <- []byte(text)
	}
	v.input = typist(func(line string) {
		if answer != nil {
			v.output <- []byte(answer(line))
		}
	})
	return v
}

// typist is the input of a console.
type typist func(line string)

func (f typist) Write(p []byte) (int, error) { f(string(p)); return len(p), nil }
func (f typist) Close() error                { return nil }

var _ io.WriteCloser = typist(nil)

func TestExpectFindsTextInPiecesAndContinuesAfterIt(t *testing.T) {
	t.Parallel()
	v := scripted(t, nil, "Linux ver", "sion\x1b[0", ";32m 6\x1b[0m\r\ndebian log", "in: and more login: ")
	login := regexp.MustCompile("login: ")
	if text, err := v.Expect(t.Context(), login); err != nil || text != "Linux version 6\ndebian login: " {
		t.Errorf("got %q, %v", text, err)
	}
	if text, err := v.Expect(t.Context(), login); err != nil || text != "and more login: " {
		t.Errorf("the second time: got %q, %v", text, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Expect(cancelled, login); err == nil {
		t.Error("the same text was found twice")
	}
}

func TestPlainTextHasNoControlSequences(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\x1b[0;32m  OK  \x1b[0m] a\r\n":                   "  OK  ] a\n",
		"\x1b[!p\x1b]104\a\x1b[!p\x1b]104\adebian login: ": "debian login: ", // systemd 257 before a getty
		"\x1b]3008;start=1;user=root\x1b\\# \x1b]0;t":      "# \x1b]0;t",
		"\x1b[?2004h$ [0] \x1bc":                           "$ [0] ",
	} {
		if got := Plain([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestExpectFailsWithoutDelay(t *testing.T) {
	t.Parallel()
	login := regexp.MustCompile("login: ")
	for _, tt := range []struct {
		text     string
		shutdown string // of a machine that has ended
		want     Reason
		why      string
	}{
		{text: "one\r\n\r\ntwo\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
			want: Panicked, why: "panicked: VFS: Unable to mount root fs on unknown-block(0,0)"},
		{text: "No bootable device.", want: NotBootable, why: `"No bootable device"`},
		{text: "BusyBox v1.37\n(initramfs) ", want: NotBootable, why: `"(initramfs)"`},
		{text: "reboot: Power down\n", shutdown: "guest-shutdown", want: PoweredOff, why: "the guest has powered off"},
		{text: "reboot: Restarting system\n", shutdown: "guest-reset", want: Reset, why: "reset the machine"},
		{text: "Linux version 6", shutdown: "host-signal", want: Ended, why: "QEMU has ended"},
	} {
		v := scripted(t, nil, tt.text)
		if v.shutdown = tt.shutdown; tt.shutdown != "" {
			close(v.output)
			close(v.ended)
		}
		var e *NotSeenError
		if _, err := v.Expect(t.Context(), login); !errors.As(err, &e) || e.Reason != tt.want ||
			!strings.Contains(e.Why, tt.why) {
			t.Errorf("%q: got %v, want %s and %q", tt.text, err, tt.want, tt.why)
		}
	}
	v := scripted(t, nil, "Kernel panic - not syncing")
	if _, err := v.Expect(t.Context(), regexp.MustCompile("panic")); err != nil {
		t.Errorf("a panic that want matches: %v", err)
	}
	v = scripted(t, nil, "one\r\n\r\ntwo\nNo bootable device", "\r\nthree")
	var e *NotSeenError
	if _, err := v.Expect(t.Context(), login); !errors.As(err, &e) || e.Tail != "one\ntwo\nNo bootable device\nthree" {
		t.Errorf("got %+v, want the whole end of the console", e)
	}
}

// Issue 15, 15: a guest that hangs was not told from one that is slow.
func TestExpectTellsAHangFromASlowBoot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text    string
		silence time.Duration
		want    Reason
		why     string
	}{
		{"", 0, Hung, "has shown nothing"},
		{"Loading vmlinuz", 4 * time.Minute, Hung, "hangs: the console has shown nothing new for 4m0s"},
		{"Loading vmlinuz", 20 * time.Second, TimedOut, "time is over"},
	} {
		v := scripted(t, nil)
		v.show([]byte(tt.text))
		v.silence = tt.silence
		ctx, cancel := context.WithDeadline(t.Context(), time.Time{})
		defer cancel()
		var e *NotSeenError
		if _, err := v.Expect(ctx, regexp.MustCompile("login: ")); !errors.As(err, &e) || e.Reason != tt.want ||
			!strings.HasSuffix(e.Why, tt.why) {
			t.Errorf("%q, silent for %s: got %v, want %s and %q", tt.text, tt.silence, err, tt.want, tt.why)
		}
	}
}

// Messages of a failed boot may be in what a command prints.
func TestAfterALoginOnlyAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	v := scripted(t, nil, "the manual of emergency mode\n(initramfs)\nend\n")
	v.loggedIn = true
	if _, err := v.Expect(t.Context(), regexp.MustCompile("end\n")); err != nil {
		t.Error(err)
	}
	v = scripted(t, nil, "[   80.1] Kernel panic - not syncing: sysrq triggered crash\n")
	v.loggedIn = true
	var e *NotSeenError
	if _, err := v.Expect(t.Context(), regexp.MustCompile("end\n")); !errors.As(err, &e) || e.Reason != Panicked {
		t.Errorf("got %v, want a panic", err)
	}
}

func TestLoginAndRunTalkWithAShell(t *testing.T) {
	t.Parallel()
	shell := func(line string) string {
		switch line {
		case "root\n":
			return line + "Password: "
		case "right\n":
			return "\nLinux debian\n\x1b[?2004hroot@debian:~# "
		case "wrong\n":
			return "\nLogin incorrect\ndebian login: "
		case "open\n":
			return line + "open@debian:~$ "
		default: // the echo, then the output of the command
			return line + "vmdebootstrap-run-begin\nhello\r\nvmdebootstrap-run-end=3\n# "
		}
	}
	v := scripted(t, shell)
	if err := v.Login(t.Context(), "root", "right"); err != nil {
		t.Fatal(err)
	}
	output, status, err := v.Run(t.Context(), "echo hello; exit 3")
	if err != nil || output != "hello\n" || status != 3 {
		t.Errorf("got %q, status %d, %v", output, status, err)
	}
	if err := scripted(t, shell).Login(t.Context(), "open", ""); err != nil {
		t.Errorf("an account without a password: %v", err)
	}
	if err := scripted(t, shell).Login(t.Context(), "root", "wrong"); err == nil ||
		!strings.Contains(err.Error(), "the password is wrong") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestUnlockTypesThePassphrase(t *testing.T) {
	t.Parallel()
	const prompt = "Begin: Mounting root file system ... Please unlock disk root_crypt: "
	answer := func(line string) string {
		if line == "right\n" {
			return "\ncryptsetup: root_crypt: set up successfully\ndebian login: "
		}
		return "\nNo key available with this passphrase.\ncryptsetup: ERROR: root_crypt: cryptsetup failed, bad password " +
			"or options?\n" + prompt
	}
	v := scripted(t, answer, prompt)
	if err := v.Unlock(t.Context(), "right"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Expect(t.Context(), regexp.MustCompile("login: ")); err != nil {
		t.Error(err)
	}
	if err := scripted(t, answer, prompt).Unlock(t.Context(), "wrong"); err == nil ||
		!strings.Contains(err.Error(), "the passphrase is wrong") {
		t.Errorf("a wrong passphrase: %v", err)
	}
	var e *NotSeenError
	_, err := scripted(t, answer, prompt).Expect(t.Context(), regexp.MustCompile("login: "))
	if !errors.As(err, &e) || e.Reason != Locked {
		t.Errorf("no passphrase: got %v", err)
	}
	// The question is answered: it is not why the boot fails later.
	v = scripted(t, func(string) string {
		return "\ncryptsetup: root_crypt: set up successfully\nYou are in emergency mode.\n"
	}, prompt)
	if err := v.Unlock(t.Context(), "right"); err != nil {
		t.Fatal(err)
	}
	_, err = v.Expect(t.Context(), regexp.MustCompile("login: "))
	if !errors.As(err, &e) || e.Reason != NotBootable || !strings.Contains(e.Why, "emergency mode") {
		t.Errorf("emergency mode: got %v", err)
	}
}

// Issue 15, 15: a command that ended with "exit 7" ended the login shell, so that Run waited until
// the timeout.
func TestRunEndsWhenTheCommandExits(t *testing.T) {
	t.Parallel()
	shell := func(line string) string {
		cmd := exec.Command("sh")
		cmd.Stdin = strings.NewReader(line)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("the session has ended: %v", err)
		}
		return line + string(out) + marker + "-end=0\n# "
	}
	output, status, err := scripted(t, shell).Run(t.Context(), "echo hello; test -e / && exit 7")
	if err != nil || output != "hello\n" || status != 7 {
		t.Errorf("got %q, status %d, %v", output, status, err)
	}
}

func TestCommandReportsUnknownMachines(t *testing.T) {
	t.Parallel()
	_, _, err := Machine{Arch: "arm64", Firmware: BIOS}.Command(t.TempDir(), "stdio")
	if err == nil || !strings.Contains(err.Error(), "arm64") || !strings.Contains(err.Error(), "arm64/uefi") {
		t.Errorf("got %v", err)
	}
}

func TestCommandDoublesCommasAndProtectsTheImage(t *testing.T) {
	t.Parallel()
	_, args, err := Machine{Image: "a,b.img", Snapshot: true}.Command(t.TempDir(), "stdio")
	var missing *MissingError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil || !slices.Contains(args, "file=a,,b.img,format=raw,if=none,id=disk,snapshot=on") ||
		!slices.Contains(args, "pc,graphics=off") {
		t.Errorf("got %q, %v", args, err)
	}
}

// What starts U-Boot differs from machine to machine: QEMU loads it as firmware, or, after OpenSBI, as a kernel.
func TestUBootIsLoadedWithoutVariables(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"qemu-system-riscv64", "qemu-system-arm"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for arch, want := range map[string][]string{
		"riscv64": {"-kernel", "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"},
		"armhf":   {"-bios", "/usr/lib/u-boot/qemu_arm/u-boot.bin"},
	} {
		m := Machine{Image: "x.img", Arch: arch}
		line := m.Line()
		if at := slices.Index(line, want[0]); at < 0 || line[at+1] != want[1] {
			t.Errorf("%s: got %q, want %q", arch, line, want)
		}
		_, args, err := m.Command(dir, "stdio")
		var missing *MissingError
		if errors.As(err, &missing) && missing.Package == "u-boot-qemu" && missing.What == want[1] {
			continue
		}
		if at := slices.Index(args, want[0]); err != nil || at < 0 || args[at+1] != want[1] {
			t.Errorf("%s: got %q (%v), want %q", arch, args, err, want)
		}
		if slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(arg, "pflash") }) {
			t.Errorf("%s: flash memory in %q", arch, args)
		}
	}
	t.Setenv("PATH", "/nowhere")
	_, _, err := Machine{Image: "x.img", Arch: "riscv64"}.Command(dir, "stdio")
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Package != "qemu-system-riscv64" {
		t.Errorf("got %v", err)
	}
}

// Without acpi=off the firmware gives Linux ACPI tables and no device tree (README.Debian of qemu-efi-riscv64).
func TestUEFIOfRISCV64ReadsTheDeviceTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-riscv64"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	_, args, err := Machine{Image: "x.img", Arch: "riscv64", Firmware: UEFI}.Command(dir, "stdio")
	var missing *MissingError
	if errors.As(err, &missing) && missing.Package == "qemu-efi-riscv64" {
		return
	}
	if err != nil || !slices.Contains(args, "virt,acpi=off") || !slices.Contains(args,
		"if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd") {
		t.Errorf("got %q, %v", args, err)
	}
}

func TestSoftwareLacksTheBrokenInstruction(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for accel, want := range map[string]string{"": "Nehalem,-cx16", "tcg,thread=single": "Nehalem,-cx16",
		"kvm": "Nehalem"} {
		_, args, err := Machine{Image: "x.img", Accel: accel}.Command(dir, "stdio")
		if err != nil || !slices.Contains(args, want) {
			t.Errorf("%q: got %q (%v), want %s", accel, args, err, want)
		}
	}
}

func TestStartAcceleratedFallsBackToSoftware(t *testing.T) {
	// Not QEMU: its boot loader always prints, its kernel only with software emulation.
	dir := t.TempDir()
	program := "#!/bin/sh\necho GRUB\ncase \"$*\" in *'-accel tcg'*) echo 'Linux version 6' ;; esac\nexec sleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	v, fellBack, err := StartAccelerated(t.Context(), Machine{Image: "x.img", Accel: "kvm"}, dir, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	if !fellBack {
		t.Error("the silent machine was kept")
	}
	if text, err := v.Expect(t.Context(), regexp.MustCompile("Linux version")); err != nil {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestShowsKernelRecognisesOutputOfAKernel(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"Linux version 6.12", "debian login: ", "Kernel panic - not syncing"} {
		v := scripted(t, nil, "GRUB\r\n", text)
		if !v.showsKernel(t.Context(), time.Hour) {
			t.Errorf("%q: got false", text)
		}
		if v.Text() != "GRUB\n"+text {
			t.Errorf("the output is lost: got %q", v.Text())
		}
	}
}

func TestSoftwareHasOneProcessor(t *testing.T) {
	t.Parallel()
	for accel, want := range map[string]int{"": 1, "tcg": 1, "tcg,thread=multi": 1, "kvm": 2} {
		if got := (Machine{Accel: accel}).withDefaults().CPUs; got != want {
			t.Errorf("%q: got %d processors, want %d", accel, got, want)
		}
	}
	if got := (Machine{CPUs: 4}).withDefaults().CPUs; got != 4 {
		t.Errorf("got %d processors, want 4", got)
	}
}
