// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// handover is what the first run of this program tells the second. It travels in a file without a name: arguments are
// everybody's to read, and an environment is in /proc for as long as its process lives.
type handover struct {
	// Env is the caller's environment.
	Env []string
	// Message is what the program says to itself.
	Message []byte
	// Isolation is the one that was found to work, and Why what those before it lack.
	Isolation Isolation
	Why       string
	// Caller is the user id of whoever called Reexec, outside.
	Caller int
	// Mounts are where those are to be mounted that a root with a range of ids of its own brings along, see ownids.go.
	Mounts []string `json:",omitempty"`
	// Try is the directory in which the helper tries what it needs.
	Try string
}

// ownIDs reports whether the caller is a root who has a range of ids of its own now.
func (h *handover) ownIDs() bool { return len(h.Mounts) > 0 }

// file returns what is handed over as an open file.
func (h *handover) file() (_ *os.File, err error) {
	fd, err := unix.MemfdCreate("vmdebootstrap", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("hand over the arguments: %w", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("hand over the arguments: %w", err), f.Close())
		}
	}()
	if err := json.NewEncoder(f).Encode(h); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// handedOver is the file for a helper of Reexec, and for the program that this becomes.
var handedOver = sync.OnceValue(func() *os.File { return os.NewFile(process.FdHandover, "handover") })

// readHandover reads what a helper of Reexec, or the program inside, was handed over. The file stays as it is
// for the next.
func readHandover() (*handover, error) {
	h := &handover{}
	if err := json.NewDecoder(handedOver()).Decode(h); err != nil {
		return nil, fmt.Errorf("read what was handed over: %w", err)
	}
	_, err := handedOver().Seek(0, io.SeekStart)
	return h, err
}
