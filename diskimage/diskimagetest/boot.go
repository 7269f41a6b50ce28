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
	"slices"
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
	// SecureBoot is OVMF with the keys of Microsoft, which start what Debian signed and nothing else.
	SecureBoot Firmware = "secure-boot"
)

// Exchange is a line of a conversation on the serial console: when Want, a regular expression, is seen there, Send is
// typed. The console shows what is typed as well; let Want not match that.
type Exchange struct{ Want, Send string }

// BootOptions say how to start an image and what to wait for.
type BootOptions struct {
	Firmware Firmware // default BIOS for amd64 and i386, else UEFI
	Arch     string   // Debian name: amd64 (the default), i386 or arm64
	// Want is a regular expression for the serial console; the image has booted when it matches. Default "login: ".
	Want string
	// Session is what is said on the console before Want is waited for. Each exchange looks at what comes after the one
	// before it.
	Session []Exchange
	// Keep has the machine write to the image; otherwise the image stays as it is.
	Keep bool
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
// to there, without terminal escapes. There is no network, and the machine is stopped in any case. The test fails on
// time-out, on a message that makes waiting hopeless, and when QEMU ends; it then shows the last lines of the console.
func Boot(t testing.TB, image string, o BootOptions) string {
	t.Helper()
	o = o.withDefaults()
	script := o.script(t)
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
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text, verdict := watch(console, keyboard, script)
	cancel()
	waitErr := cmd.Wait()
	if verdict == nil {
		t.Logf("%s (%s): %q after %s", filepath.Base(image), o.Firmware, o.Want, time.Since(start).Round(100*time.Millisecond))
		return text
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		verdict = fmt.Errorf("%w, and not within %s", verdict, o.Timeout)
	}
	t.Fatalf("boot %s (%s): %v (QEMU: %v)\n%s\nlast lines of the console:\n%s",
		image, o.Firmware, verdict, waitErr, complaints.String(), lastLines(text, 50))
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
	case o.Firmware == SecureBoot:
		program = Tool(t, "qemu-system-x86_64")
		// System management mode keeps the variables from the operating system.
		args = append(args, "-machine", "q35,smm=on,graphics=off", "-cpu", "Nehalem", "-global", "driver=cfi.pflash01,property=secure,value=on")
		args = append(args, pflash(t, "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd")...)
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
	drive := fileArgument(image) + ",format=raw,if=virtio"
	if !o.Keep {
		drive += ",snapshot=on"
	}
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
		"-drive", "if=pflash,format=raw,unit=0,readonly=on," + fileArgument(File(t, code)),
		"-drive", "if=pflash,format=raw,unit=1," + fileArgument(private),
	}
}

// fileArgument names a file in the argument of -drive: a comma in the name is doubled, see qemu(1).
func fileArgument(name string) string { return "file=" + strings.ReplaceAll(name, ",", ",,") }

// line is an Exchange, compiled.
type line struct {
	want *regexp.Regexp
	send string
}

// script is the session with Want at its end.
func (o BootOptions) script(t testing.TB) []line {
	t.Helper()
	var script []line
	for _, e := range append(slices.Clone(o.Session), Exchange{Want: o.Want}) {
		want, err := regexp.Compile(e.Want)
		if err != nil {
			t.Fatalf("BUG: BootOptions: %v", err)
		}
		script = append(script, line{want, e.Send})
	}
	return script
}

// watch reads the console and types what the script says until its last line matches, which is success, or nothing can
// be expected any more.
func watch(console io.Reader, keyboard io.Writer, script []line) (text string, verdict error) {
	const enough = 64 << 10 // of text that did not match; what is wanted is shorter
	var seen, pending []byte
	buf := make([]byte, 4096)
	for {
		n, readErr := console.Read(buf)
		seen, pending = append(seen, buf[:n]...), append(pending, buf[:n]...)
		if len(pending) > enough {
			pending = pending[len(pending)-enough/2:]
		}
		for {
			// Boot loaders move the cursor now and then, in the midst of a line too.
			plain := escapes.ReplaceAll(pending, nil)
			place := script[0].want.FindIndex(plain)
			if place == nil {
				if found := hopeless.Find(plain); found != nil {
					return string(seen), fmt.Errorf("%q: hopeless after %q", script[0].want, found)
				}
				break
			}
			if len(script) == 1 {
				return string(escapes.ReplaceAll(seen, nil)), nil
			}
			if _, err := io.WriteString(keyboard, script[0].send); err != nil {
				return string(seen), fmt.Errorf("type %q: %w", script[0].send, err)
			}
			pending, script = bytes.Clone(plain[place[1]:]), script[1:]
		}
		if readErr != nil {
			return string(seen), fmt.Errorf("%q: the console ended: %w", script[0].want, readErr)
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
