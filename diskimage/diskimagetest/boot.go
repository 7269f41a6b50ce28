// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// Firmware is the firmware of a virtual machine.
type Firmware = vm.Firmware

// The kinds of firmware.
const (
	BIOS       = vm.BIOS
	UEFI       = vm.UEFI
	SecureBoot = vm.SecureBoot
	UBoot      = vm.UBoot
)

// Exchange is one step of a dialogue on the serial console: when the regular expression Want
// matches, Send is typed. The console echoes Send; Want must not match that.
type Exchange struct{ Want, Send string }

// BootOptions describe how to start an image and when it has booted.
type BootOptions struct {
	Firmware Firmware // default: vm.DefaultFirmware
	Arch     string   // Debian name; default amd64
	// Want is a regular expression for the serial console; the image has booted when it matches. Default "login: ".
	Want string
	// Session is the dialogue on the console before Boot waits for Want. Each exchange sees only
	// what comes after the one before it.
	Session []Exchange
	// CD inserts the image into a CD drive.
	CD bool
	// Keep lets the machine write to the image; otherwise the image does not change.
	Keep bool
	// Timeout limits the wait; default 5 minutes. With software emulation, Debian takes 45 to 120
	// seconds to its login prompt.
	Timeout time.Duration
	// Memory in MiB; default 768.
	Memory int
	// Args are further arguments for QEMU.
	Args []string
}

// accelVariable is the environment variable that overrides QEMU's -accel option. The default is
// software emulation, which is slow and always works. An existing /dev/kvm is no guarantee: in
// nested virtual machines the guest may hang.
const accelVariable = "VMDEBOOTSTRAP_ACCEL"

// Boot starts an image in QEMU and waits until the serial console matches Want. It returns the
// console's text up to there, without terminal escapes. There is no network, and the machine is
// always stopped. The test fails on time-out, on a message after which waiting is useless, and when
// QEMU ends; it then prints the last lines of the console.
func Boot(t testing.TB, image string, o BootOptions) string {
	t.Helper()
	machine := Start(t, vm.Machine{
		Image: image, Arch: o.Arch, Firmware: o.Firmware, Memory: cmp.Or(o.Memory, 768), Snapshot: !o.Keep, CD: o.CD,
		Args: o.Args,
	})
	defer machine.Stop()
	timeout := cmp.Or(o.Timeout, 5*time.Minute)
	for _, e := range o.Session {
		Expect(t, machine, e.Want, timeout)
		if err := machine.Send(e.Send); err != nil {
			t.Fatalf("type %q: %v", e.Send, err)
		}
	}
	Expect(t, machine, cmp.Or(o.Want, "login: "), timeout)
	return machine.Text()
}

// Start starts a machine, which ends with the test. Missing programs and files are handled as by
// Tool.
func Start(t testing.TB, m vm.Machine) *vm.VM {
	t.Helper()
	m.Accel = os.Getenv(accelVariable)
	machine, err := vm.Start(t.Context(), m, t.TempDir())
	var missing *vm.MissingError
	if errors.As(err, &missing) {
		Missing(t, missing.What)
	}
	if err != nil {
		t.Fatalf("start %s: %v", m.Image, err)
	}
	t.Cleanup(machine.Stop)
	return machine
}

// Expect waits for a regular expression on the machine's console and returns the output up to it.
// The test fails if it does not match in time.
func Expect(t testing.TB, machine *vm.VM, want string, timeout time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	start := time.Now()
	text, err := machine.Expect(ctx, regexp.MustCompile(want))
	if err != nil {
		var e *vm.NotSeenError
		if errors.As(err, &e) {
			t.Fatalf("%v\n%s\nlast lines of the console:\n%s", err, e.Complaints, e.Tail)
		}
		t.Fatal(err)
	}
	t.Logf("%q after %s", want, time.Since(start).Round(100*time.Millisecond))
	return text
}
