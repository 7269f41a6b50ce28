package diskimagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Firmware is what a virtual machine starts with.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios" // SeaBIOS, on the serial console
	UEFI Firmware = "uefi" // OVMF, or AAVMF for arm64, without Secure Boot
)

// BootOptions say how to start an image and what to wait for.
type BootOptions struct {
	Firmware Firmware // default BIOS for amd64 and i386, else UEFI
	Arch     string   // Debian name: amd64 (the default), i386 or arm64
	// Want is a regular expression for the serial console; the image has booted when it matches. Default "login: ".
	Want string
	// Timeout ends the wait; default 5 minutes. In software a Debian takes 45 to 120 seconds to its login prompt.
	Timeout time.Duration
	// Memory in MiB; default 768.
	Memory int
	// Args are further arguments for QEMU.
	Args []string
}

// accelVariable names the environment variable that overrides QEMU's -accel option. The default is software emulation,
// which is slow and always works. That /dev/kvm exists says little: in nested virtual machines the guest may hang.
const accelVariable = "VMDEBOOTSTRAP_ACCEL"

// hopeless are the words after which waiting is of no use.
var hopeless = regexp.MustCompile(strings.Join([]string{
	`grub rescue>`, `error: no such (partition|device)`, `Boot error`, `No bootable device`, `Boot failed: not a bootable disk`,
	`Missing operating system`, `Missing OS`, `Kernel panic`, `Unable to mount root`, `\(initramfs\)`, `emergency mode`, `Security Violation`,
	`No DEFAULT or UI configuration directive found`, `Failed to load ldlinux\.c32`,
}, "|"))

// Boot starts an image in QEMU and waits until the serial console shows what is wanted. It gives the console's text up
// to there, without terminal escapes. The image is not changed, there is no network, and the machine is stopped in any case. The test fails on
// time-out, on a message that makes waiting hopeless, and when QEMU ends; it then shows the last lines of the console.
func Boot(t testing.TB, image string, o BootOptions) string {
	t.Helper()
	o = o.withDefaults()
	want, err := regexp.Compile(o.Want)
	if err != nil {
		t.Fatalf("BUG: BootOptions.Want: %v", err)
	}
	program, args := o.command(t, image)
	// The kernel sends Pdeathsig when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text, verdict := watch(console, want)
	cancel()
	waitErr := cmd.Wait()
	if verdict == nil {
		t.Logf("%s: %q after %s", filepath.Base(image), want.FindString(text), time.Since(start).Round(100*time.Millisecond))
		return text
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		verdict = fmt.Errorf("not seen within %s", o.Timeout)
	}
	t.Fatalf("boot %s (%s): %q: %v (QEMU: %v)\n%s\nlast lines of the console:\n%s",
		image, o.Firmware, o.Want, verdict, waitErr, complaints.String(), lastLines(text, 50))
	return ""
}

// withDefaults fills the gaps.
func (o BootOptions) withDefaults() BootOptions {
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Firmware == "" {
		o.Firmware = BIOS
		if o.Arch == "arm64" {
			o.Firmware = UEFI
		}
	}
	if o.Want == "" {
		o.Want = "login: "
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Memory == 0 {
		o.Memory = 768
	}
	return o
}

// command is QEMU's command line.
func (o BootOptions) command(t testing.TB, image string) (program string, args []string) {
	t.Helper()
	accel := os.Getenv(accelVariable)
	if accel == "" {
		accel = "tcg,thread=multi"
	}
	args = []string{
		"-accel", accel, "-m", fmt.Sprint(o.Memory), "-smp", "2", "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-no-reboot", "-nic", "none",
	}
	switch {
	case o.Arch == "arm64":
		program = Tool(t, "qemu-system-aarch64")
		args = append(args, "-machine", "virt", "-cpu", "cortex-a57")
		args = append(args, pflash(t, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd")...)
	case o.Firmware == UEFI:
		program = Tool(t, "qemu-system-x86_64")
		args = append(args, "-machine", "q35,graphics=off", "-cpu", "Nehalem")
		args = append(args, pflash(t, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")...)
	default:
		program = Tool(t, "qemu-system-x86_64")
		// Without graphics SeaBIOS and the boot sectors write to the serial line. Of the processors Nehalem emulates
		// fastest among those that Debian runs on.
		args = append(args, "-machine", "pc,graphics=off", "-cpu", "Nehalem")
	}
	// A comma in the name is doubled, see qemu(1).
	drive := "file=" + strings.ReplaceAll(image, ",", ",,") + ",format=raw,if=virtio,snapshot=on"
	return program, append(append(args, "-drive", drive), o.Args...)
}

// pflash gives the drives for UEFI firmware: the code, and a private copy of the variables.
func pflash(t testing.TB, code, vars string) []string {
	t.Helper()
	data, err := os.ReadFile(File(t, vars))
	if err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(private, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + File(t, code),
		"-drive", "if=pflash,format=raw,unit=1,file=" + private,
	}
}

// watch reads the console until want matches, which is success, or nothing can be expected any more.
func watch(console io.Reader, want *regexp.Regexp) (text string, verdict error) {
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := console.Read(buf)
		seen = append(seen, buf[:n]...)
		// A match may straddle two reads, so look at some more than what is new.
		// Boot loaders move the cursor now and then, in the midst of a line too.
		recent := escapes.ReplaceAll(seen[max(0, len(seen)-n-1024):], nil)
		if want.Match(recent) {
			return string(escapes.ReplaceAll(seen, nil)), nil
		}
		if found := hopeless.Find(recent); found != nil {
			return string(seen), fmt.Errorf("hopeless after %q", found)
		}
		if err != nil {
			return string(seen), fmt.Errorf("the console ended: %w", err)
		}
	}
}

// escapes are the sequences that colour and position text on a terminal.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?=]*[A-Za-z]|\x1b[()=<>78cEM]|\r")

// lastLines gives the last n lines of a console's text, without terminal escapes and empty lines.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(escapes.ReplaceAllString(text, "")) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
