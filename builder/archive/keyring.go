// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

// keyrings holds two files of Debian's package debian-archive-keyring 2025.1: the keys for bullseye to
// trixie, testing and sid, and those of releases that the archive no longer carries; and that of Ubuntu's keys in
// Debian's package ubuntu-keyring 2023.11.28.1. The keys are in the public domain.
//
//go:embed keyrings/debian-archive-keyring.pgp keyrings/debian-archive-removed-keys.pgp
//go:embed keyrings/ubuntu-archive-keyring.gpg
var keyrings embed.FS

var defaultKeyring = sync.OnceValue(func() openpgp.EntityList {
	var keys openpgp.EntityList
	for _, name := range []string{"debian-archive-keyring.pgp", "debian-archive-removed-keys.pgp",
		"ubuntu-archive-keyring.gpg"} {
		data, err := keyrings.ReadFile("keyrings/" + name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		more, err := ReadKeyring(bytes.NewReader(data))
		if err != nil {
			panic("BUG: embedded " + name + ": " + err.Error())
		}
		keys = append(keys, more...)
	}
	return keys
})

// DefaultKeyring returns the keys that are built into the program: those of Debian's archive, from wheezy's (2013) to
// those for the release after trixie, and those of Ubuntu's archives since precise (2012).
func DefaultKeyring() openpgp.EntityList { return slices.Clone(defaultKeyring()) }

// WithDefaultKeys returns a copy of the client that verifies what Debian publishes as well: it also trusts the built-in
// keys, each for the suites of its own releases, and does not accept a file without a signature.
func (c *Client) WithDefaultKeys() *Client {
	other := *c
	if c.UserKeyring {
		other.Keyring, other.UserKeyring = append(slices.Clone(c.Keyring), defaultKeyring()...), false
	}
	if c.NoCheck {
		other.NoCheck = false
	}
	return &other
}

// ReadKeyring reads public keys in the binary or the armoured form, as in /usr/share/keyrings and /etc/apt/keyrings.
// It leaves out keys of kinds that are too weak today (DSA, RSA of less than 2048 bits).
// GnuPG's keybox format is not supported: "gpg --export" writes the form that is.
func ReadKeyring(r io.Reader) (openpgp.EntityList, error) {
	const armour = "-----BEGIN PGP"
	br := bufio.NewReader(r)
	begin, err := br.Peek(len(armour))
	if err != nil && len(begin) == 0 {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	read := openpgp.ReadKeyRing
	if string(begin) == armour {
		read = openpgp.ReadArmoredKeyRing
	}
	var keys openpgp.EntityList
	err = guard.Parse(func() (err error) {
		keys, err = read(br)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	keys = slices.DeleteFunc(keys, weak)
	if len(keys) == 0 {
		return nil, fmt.Errorf("read keyring: it has no key that is strong enough")
	}
	return keys, nil
}

// weak reports whether a key is of a kind that no longer proves anything.
func weak(e *openpgp.Entity) bool {
	const leastRSA = 2048
	switch e.PrimaryKey.PubKeyAlgo {
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return true
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		bits, err := e.PrimaryKey.BitLength()
		return err != nil || bits < leastRSA
	}
	return false
}
