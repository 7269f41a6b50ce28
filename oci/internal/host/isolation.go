// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Isolation is how containers are made on this host.
type Isolation string

// The kinds of isolation. Each is a candidate of a ladder: the first that this host allows is taken.
const (
	// IsolationAuto is whatever works, found out by trying.
	IsolationAuto Isolation = "auto"
	// IsolationUserNS is a user namespace with the subordinate ids of the caller, or with a range that a real
	// root takes. The root of a container that may make such a namespace, but not mount without one, has its
	// own ids there.
	IsolationUserNS Isolation = "userns"
	// IsolationSingle is a user namespace without other users than the caller. Whose files should be is noted
	// in extended attributes; programs in containers see that as if it were so, see package supervise.
	IsolationSingle Isolation = "single"
	// IsolationRoot has mount and pid namespaces, made by a root that may mount.
	IsolationRoot Isolation = "root"
	// IsolationChroot has no namespaces and no mounts: root in a container without CAP_SYS_ADMIN. See place.
	IsolationChroot Isolation = "chroot"
)

// isolations are those that can be asked for.
var isolations = []Isolation{IsolationAuto, IsolationUserNS, IsolationRoot, IsolationChroot, IsolationSingle}

// Isolations lists what ParseIsolation reads.
func Isolations() []string {
	names := make([]string, len(isolations))
	for i, is := range isolations {
		names[i] = string(is)
	}
	return names
}

// ParseIsolation reads the name of an isolation.
func ParseIsolation(text string) (Isolation, error) {
	for _, is := range isolations {
		if string(is) == text {
			return is, nil
		}
	}
	return "", fmt.Errorf("%q is not one of %s", text, strings.Join(Isolations(), ", "))
}

// candidates are the kinds of isolation to try, in order, for what was asked for.
func candidates(want Isolation, uid int) []Isolation {
	switch {
	case want != IsolationAuto && want != "":
		return []Isolation{want}
	case uid == 0:
		return []Isolation{IsolationUserNS, IsolationRoot, IsolationChroot, IsolationSingle}
	default:
		return []Isolation{IsolationUserNS, IsolationSingle}
	}
}

// namespaces are the flags of clone(2) for the process that Reexec starts.
func (i Isolation) namespaces() uintptr {
	switch i {
	case IsolationUserNS, IsolationSingle:
		return unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER
	case IsolationRoot:
		return unix.CLONE_NEWNS | unix.CLONE_NEWPID
	default:
		return 0
	}
}

// suits tells a caller for whom an isolation is not meant.
func (i Isolation) suits(uid int) error {
	if (i == IsolationRoot || i == IsolationChroot) && uid != 0 {
		return &Error{Cause: fmt.Sprintf("the isolation %s is for root", i),
			Fix: "use the isolation userns or auto, or run as root"}
	}
	return nil
}

// noneWorks joins what each candidate of the ladder lacks; errs are not empty.
func noneWorks(errs []error) error {
	if text := errs[0].Error(); causes(errs) == text {
		return errs[0]
	}
	last := &Error{}
	if !errors.As(errs[len(errs)-1], &last) {
		return errors.Join(errs...)
	}
	return &Error{Cause: causes(errs), Fix: last.Fix}
}

// causes joins what errors say, each once.
func causes(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return strings.Join(slices.Compact(texts), "; ")
}
