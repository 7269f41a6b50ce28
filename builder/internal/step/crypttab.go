// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Crypttab writes /etc/crypttab, from which the initramfs and the booted system know what to unlock.
type Crypttab struct {
	base
	Entries []CrypttabEntry
}

// CrypttabEntry is a line of crypttab(5).
type CrypttabEntry struct {
	// Name is the mapping's name in /dev/mapper.
	Name string
	// Device is the encrypted device: UUID=… or PARTUUID=….
	Device string
	// Key is a file with the key, or "none" for a passphrase that somebody types.
	Key     string
	Options string
}

// CrypttabName is the name of the file.
const CrypttabName = "/etc/crypttab"

func (Crypttab) Kind() string { return "crypttab" }

func (Crypttab) Title() string { return "write " + CrypttabName }

func (c Crypttab) Run(_ context.Context, s *Context) error {
	var b strings.Builder
	b.WriteString("# <target name> <source device> <key file> <options>\n")
	for _, e := range c.Entries {
		fmt.Fprintf(&b, "%s %s %s %s\n", e.Name, e.Device, e.Key, e.Options)
	}
	return target.WriteFileIn(s.Target, CrypttabName, b.String(), 0o644)
}
