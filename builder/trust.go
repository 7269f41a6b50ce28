// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
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
	options, keyring := step.DebootstrapOptions(s.o.Debootstrapopts)
	noCheck := slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(o, "--no-check-gpg") || o == "--no-check-sig"
	})
	if keyring != "" {
		keyring = s.w.absolute(keyring)
	}
	return Trust{Keyring: keyring, NoCheck: noCheck}
}

// AliasError says that a mirror's "stable", or another name that moves, is an older release than today's: the files of
// that release are signed by its keys, so that nothing else tells of a mirror that stands still or pretends to.
type AliasError struct {
	Alias, Mirror string
	// Codename is the release that the mirror names, Want the one of the day.
	Codename, Want string
}

func (e *AliasError) Error() string {
	return fmt.Sprintf("--distribution %s: it is %s by now, and %s answers with %s, which is older", e.Alias, e.Want, e.Mirror, e.Codename)
}

// checkAlias compares the release that a mirror has for an alias with the one that the day and the table of releases tell.
// One that the table does not know is newer.
func (s Spec) checkAlias(r *archive.Release) error {
	answer, known := debian.LookupRelease(r.Codename)
	if s.o.Distribution == s.release.Codename || !known || answer.Vendor != s.release.Vendor || answer.Created >= s.release.Created {
		return nil
	}
	return &AliasError{s.o.Distribution, s.o.Mirror.String(), answer.Codename, s.release.Codename}
}

// writeKeyring writes the keys that may sign the suite into a file, for debootstrap's gpgv, which would otherwise take
// every key that the tools' release knows.
func writeKeyring(name string, r *archive.Release) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.WriteKeyring(f)
}
