package oci

import (
	"fmt"
	"os"

	"github.com/containers/buildah"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// envInside holds the mount namespace that the program was started in by Reexec. A program which merely inherited the
// variable, a hook for example, is in another one.
const envInside = "_VMDEBOOTSTRAP_NAMESPACE"

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
	case process.NameEnter:
		enter()
		return true
	case process.NameContainer:
		containerInit()
		return true
	case process.NameProbe:
		probeMain()
		return true
	}
	// Helpers of go.podman.io/storage.
	if buildah.InitReexec() {
		return true
	}
	if os.Args[0] == process.NameImage { // starts such helpers
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
	process.Hide()
	process.KeepFiles()
	h, err := readHandover()
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err)) // the helper has read it before
	}
	_ = handedOver().Close() // it has been read
	process.SetEnvironment(h.Env)
	inside, isolation, why, caller, ownRoot, message = true, h.Isolation, h.Why, h.Caller, h.ownIDs(), h.Message
	go process.WatchLifeline(os.NewFile(process.FdLifeline, "lifeline"))
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
