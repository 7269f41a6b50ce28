// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reason is the kind of event that made Expect give up.
type Reason string

// The reasons.
const (
	PoweredOff  Reason = "powered off" // by the guest
	Reset       Reason = "reset"       // by the guest: a reboot or a triple fault
	Panicked    Reason = "panicked"    // the guest's kernel
	NotBootable Reason = "not bootable"
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
	if found := bootFailure.FindString(output); found != "" && !v.loggedIn {
		return NotBootable, fmt.Sprintf("the console shows %q", found)
	}
	return "", ""
}

// controlFD is the descriptor of QMP in QEMU, the first one after the standard streams.
const controlFD = 3

// controlArgs are QEMU's arguments for QMP on controlFD.
func controlArgs() []string {
	return []string{"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD), "-mon", "chardev=control,mode=control"}
}

// newControl returns both ends of a connection for QMP: ours, and the one that QEMU inherits.
func newControl() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "QMP")
	theirs = os.NewFile(uintptr(fds[1]), "QMP of QEMU")
	ours, err = net.FileConn(f)
	_ = f.Close() // FileConn has a duplicate
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// watchShutdown returns the reason of the last SHUTDOWN event, "" if there was none, when the
// connection ends (docs/interop/qmp-spec.txt and qapi/run-state.json of QEMU, ShutdownCause).
func watchShutdown(control net.Conn) string {
	// Without this command there are no events.
	if _, err := control.Write([]byte(`{"execute":"qmp_capabilities"}` + "\n")); err != nil {
		return ""
	}
	reason := ""
	for lines := bufio.NewScanner(control); lines.Scan(); {
		var message struct {
			Event string
			Data  struct{ Reason string }
		}
		if json.Unmarshal(lines.Bytes(), &message) == nil && message.Event == "SHUTDOWN" {
			reason = message.Data.Reason
		}
	}
	return reason
}
