// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Reason is the kind of event that made Expect give up.
type Reason string

// The reasons.
const (
	PoweredOff  Reason = "powered off" // by the guest
	Reset       Reason = "reset"       // by the guest: a reboot or a triple fault
	Panicked    Reason = "panicked"    // the guest's kernel
	NotBootable Reason = "not bootable"
	Locked      Reason = "locked"    // the guest asks for the passphrase of its disk, and Unlock was not called
	Hung        Reason = "hung"      // time is over, and the console was silent for hangSilence or longer
	TimedOut    Reason = "timed out" // time is over, and the console was not silent
	Ended       Reason = "ended"     // QEMU, for a reason of its own
	Cancelled   Reason = "cancelled" // by the caller
)

// NotSeenError reports that a console did not show the expected text.
type NotSeenError struct {
	Want   string
	Reason Reason
	// Why is the reason in words.
	Why string
	// Tail is the last output of the console, and Complaints is the output of QEMU itself.
	Tail, Complaints string
}

func (e *NotSeenError) Error() string { return fmt.Sprintf("%q was not seen: %s", e.Want, e.Why) }

// hangSilence is longer than any silence on the console of a guest that boots: unpacking a Debian
// initramfs takes up to 20 s with software emulation, and systemd reports jobs that run for long.
const hangSilence = time.Minute

// timeOver returns the reason for giving up when time is over.
func (v *VM) timeOver() (reason Reason, why string) {
	switch {
	case v.Text() == "":
		return Hung, "time is over, and the console has shown nothing"
	case v.silence >= hangSilence:
		return Hung, fmt.Sprintf("time is over, and the guest hangs: the console has shown nothing new for %s", v.silence)
	}
	return TimedOut, "time is over"
}

// ending returns the reason why the machine has ended.
func (v *VM) ending() (reason Reason, why string) {
	switch v.shutdown {
	case "guest-shutdown":
		return PoweredOff, "the guest has powered off"
	case "guest-reset":
		return Reset, "the guest has reset the machine, as for a reboot"
	}
	why = "QEMU has ended"
	if v.waitErr != nil {
		why += ": " + v.waitErr.Error()
	}
	if complaint := lastLines(v.complaints.String(), 1); complaint != "" {
		why += ": " + complaint
	}
	return Ended, why
}

// panicMessage matches the first line of a panic (panic() in Linux's kernel/panic.c).
var panicMessage = regexp.MustCompile(`Kernel panic - not syncing(: .*)?`)

// bootFailure matches messages after which waiting for a boot is useless.
var bootFailure = regexp.MustCompile(strings.Join([]string{
	`grub rescue>`, `error: no such (partition|device)`, `Boot error`, `No bootable device`,
	`Boot failed: not a bootable disk`,
	`Missing operating system`, `Missing OS`, `Unable to mount root`, `\(initramfs\)`, `emergency mode`,
	`Security Violation`,
	`No DEFAULT or UI configuration directive found`, `Failed to load ldlinux\.c32`,
}, "|"))

// failure returns the reason for giving up that is in output of the console, or "". After a login,
// commands may print messages of a boot, so that only a panic counts.
func (v *VM) failure(output string) (reason Reason, why string) {
	if found := panicMessage.FindStringSubmatch(output); found != nil {
		return Panicked, "the guest's kernel has panicked" + found[1]
	}
	if unlockPrompt.MatchString(output) && !v.loggedIn {
		return Locked, "the console asks for the passphrase of an encrypted disk"
	}
	if found := bootFailure.FindString(output); found != "" && !v.loggedIn {
		return NotBootable, fmt.Sprintf("the console shows %q", found)
	}
	return "", ""
}
