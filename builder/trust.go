package builder

import (
	"slices"
	"strings"
)

// Trust says how the archive's signature is checked: --debootstrapopts rules it for debootstrap, and so for all of the
// build.
type Trust struct {
	// Keyring is the absolute name of a file of public keys; empty for Debian's own.
	Keyring string
	// NoCheck takes an archive without a signature.
	NoCheck bool
}

// Trust gives what the Spec says of the archive's signature.
func (s Spec) Trust() Trust {
	options, keyring := debootstrapOptions(s.o.Debootstrapopts)
	noCheck := slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(o, "--no-check-gpg") || o == "--no-check-sig"
	})
	if keyring != "" {
		keyring = s.w.absolute(keyring)
	}
	return Trust{Keyring: keyring, NoCheck: noCheck}
}
