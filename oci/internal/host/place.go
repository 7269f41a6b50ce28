// SPDX-License-Identifier: Apache-2.0

// Package host finds out how containers can be made on this host, and starts this program again where they
// can: in a user namespace with subordinate ids, with a range of root's, or with a single id; as root, with
// namespaces or, where a container around it allows none, by chroot(2) alone. Isolation names these ways,
// Reexec takes the first that works.
//
// What comes of it is a value, Place, which Detect returns in the program that Reexec has started; who makes containers
// carries it along. Nothing is remembered in package variables.
//
// An error that the host is to blame for is an *Error: it has the cause in words, and what to do about it.
// Probe tries all ways for a report. How the programs of a container are run is package run's.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// EnvInside holds the mount namespace that the program was started in by Reexec. A program which merely inherited the
// variable, a hook for example, is in another one.
const EnvInside = "_VMDEBOOTSTRAP_NAMESPACE"

// Place is where a process runs: by which isolation containers can be made there. The zero value is that of a
// process that Reexec has not started, where none can.
type Place struct {
	// Isolation is the one by which Reexec started this process.
	Isolation Isolation
	// Why says what the kinds of isolation that come before it lack here; it is empty if they were not tried.
	Why string
	// Caller is the user id of whoever called Reexec, outside of the user namespace.
	Caller int
	// OwnRange says that the caller is root, and has a range of ids of its own here.
	OwnRange bool
	// Message is what the first run has handed over to this one, the second.
	Message []byte
}

// Inside reports whether Reexec started this process: containers can be made here.
func (p Place) Inside() bool { return p.Isolation != "" }

// SingleID reports whether all files belong to one user, and their owners are extended attributes.
func (p Place) SingleID() bool { return p.Isolation == IsolationSingle }

// IDs returns how many ids from 0 on can own files, the smaller number of those for users and for groups; 0
// if there is no limit, as for root without a user namespace, and where owners are extended attributes.
func (p Place) IDs() (uint32, error) {
	switch {
	case p.SingleID():
		return 0, nil
	case p.OwnRange:
		return ownCount, nil // the engine itself has more
	}
	least := uint64(math.MaxUint32)
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil // a kernel without user namespaces
		}
		if err != nil {
			return 0, fmt.Errorf("count the ids: %w", err)
		}
		least = min(least, mappedFromZero(string(text)))
	}
	if least == math.MaxUint32 {
		return 0, nil
	}
	return uint32(least), nil
}

// mappedFromZero returns how many ids from 0 on a map has, see user_namespaces(7).
func mappedFromZero(idMap string) uint64 {
	var next uint64
	for line := range strings.Lines(idMap) { // the kernel sorts them, by the first id
		var first, outside, count uint64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil || first != next {
			break
		}
		next += count
	}
	return next
}

// NeedUsers refuses work that gives files to others for good where there is nobody else.
func (p Place) NeedUsers(work string) error {
	if !p.SingleID() {
		return nil
	}
	return &Error{
		Cause: fmt.Sprintf("%s needs subordinate ids", work),
		Fix:   "as root, run: apt install uidmap, and: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER; or write a tar file, an OCI image or a disk image",
	}
}

// NeedStore refuses work on the store of podman where that would be read and written otherwise than by
// podman: its overlays are root's, with trusted.* attributes, which are neither seen nor written in a user
// namespace.
func (p Place) NeedStore() error {
	if p.Isolation == IsolationUserNS && p.Caller == 0 {
		return &Error{
			Cause: "the store of root's podman cannot be used from a user namespace",
			Fix:   "use the isolation root, or write an OCI image and let podman pull that",
		}
	}
	return p.NeedUsers("the store of podman")
}

// Detect returns the place of this process. A variable that was merely inherited does not count.
func Detect() Place {
	namespace, ok := os.LookupEnv(EnvInside) //nolint:forbidigo // a message to this package from itself
	if !ok {
		return Place{}
	}
	_ = os.Unsetenv(EnvInside) // fails for malformed names only
	if here, err := mountNamespace(); err != nil || here != namespace {
		return Place{}
	}
	process.Hide()
	process.KeepFiles()
	h, err := readHandover()
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err)) // the helper has read it before
	}
	_ = handedOver().Close() // it has been read
	process.SetEnvironment(h.Env)
	go process.WatchLifeline(process.Lifeline())
	return Place{
		Isolation: h.Isolation, Why: h.Why, Caller: h.Caller, OwnRange: h.ownIDs(), Message: h.Message,
	}
}

// mountNamespace names the mount namespace of this process.
func mountNamespace() (string, error) { return os.Readlink("/proc/self/ns/mnt") }
