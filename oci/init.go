package oci

import (
	"fmt"
	"io"
	"os"

	"github.com/containers/buildah"
	"golang.org/x/sys/unix"
)

// Names by which this program knows, in its argument 0, that it was started as a helper of its own.
const (
	nameEnter     = "vmdebootstrap-enter"     // becomes uid 0 of the new namespaces, then the program again
	nameContainer = "vmdebootstrap-container" // is pid 1 of a container
	nameProbe     = "vmdebootstrap-probe"     // tells how it looks where containers can be made
	nameImage     = "vmdebootstrap-image"     // works on an image of a registry or another store
)

// Files that a helper inherits.
const (
	// fdLifeline is a pipe that nobody writes to any more after the start: its end means that the parent is dead. That holds
	// where the death signal of prctl(2) does not: it is lost when a process changes its credentials, and between fork
	// and the call that sets it.
	fdLifeline = 3
	// fdReport is a pipe to which a helper writes what went wrong.
	fdReport = 4
	// fdHandover is what the first run tells the second, see handover.go.
	fdHandover = 5
	// fdMounts is the first of the copies of the host's mounts that a root with ids of its own has, see ownids.go.
	fdMounts = 6
)

// envInside holds the mount namespace that the program was started in by Reexec. A program which merely inherited the
// variable, a hook for example, is in another one.
const envInside = "_VMDEBOOTSTRAP_NAMESPACE"

// statusKilled is the exit status of a helper whose parent has died: what a shell says of a killed process.
const statusKilled = 128 + int(unix.SIGKILL)

// inside, isolation, why, caller and message are set once, by Init. caller is the user id outside of the user namespace, 0
// where there is none. ownRoot: it was root, and has a range of ids of its own now.
var (
	inside    bool
	isolation Isolation
	why       string
	caller    int
	ownRoot   bool
	message   []byte
)

// Init must be the first call of main, and of TestMain where a test uses this package: helpers are this very program,
// started under another name. It returns true if this process was a helper and has done its work; main then returns.
func Init() bool {
	if len(os.Args) == 0 {
		return false
	}
	switch os.Args[0] {
	case nameEnter:
		enter()
		return true
	case nameContainer:
		containerInit()
		return true
	case nameProbe:
		probeMain()
		return true
	}
	// Helpers of go.podman.io/storage.
	if buildah.InitReexec() {
		return true
	}
	if os.Args[0] == nameImage { // starts such helpers
		imageMain()
		return true
	}
	namespace, ok := os.LookupEnv(envInside) //nolint:forbidigo // a message to this package from itself
	if !ok {
		return false
	}
	_ = os.Unsetenv(envInside) // fails for malformed names only
	if here, err := mountNamespace(); err != nil || here != namespace {
		return false
	}
	hide()
	keepFiles()
	h, err := readHandover()
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err)) // the helper has read it before
	}
	_ = handedOver().Close() // it has been read
	setEnvironment(h.Env)
	inside, isolation, why, caller, ownRoot, message = true, h.Isolation, h.Why, h.Caller, h.ownIDs(), h.Message
	go watchLifeline(os.NewFile(fdLifeline, "lifeline"))
	return false
}

// Inside reports whether this process was started by Reexec: containers can be made here.
func Inside() bool { return inside }

// InsideBy is the isolation by which Reexec started this process; empty if it did not.
func InsideBy() Isolation { return isolation }

// Why tells what the kinds of isolation that come before InsideBy lack here; it is empty if they were not tried.
func Why() string { return why }

// Message is what the first run has handed over to this one, the second; nil in the first.
func Message() []byte { return message }

// mountNamespace names the mount namespace of this process.
func mountNamespace() (string, error) { return os.Readlink("/proc/self/ns/mnt") }

// watchLifeline ends the process when its parent is gone. As pid 1 of its namespace it takes everything with it.
func watchLifeline(r io.Reader) {
	_, _ = io.Copy(io.Discard, r) // whatever ends it
	exit(statusKilled)
}

// exit ends a helper.
func exit(status int) {
	os.Exit(status) //nolint:forbidigo // a helper is a process of its own: its status is its answer
}
