// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// hintFor returns advice on an error, which its type decides; "" if there is none.
func hintFor(err error) string {
	untrusted, ok := errors.AsType[*archive.UntrustedError](err)
	switch {
	case !ok:
		return ""
	case untrusted.Bad != nil:
		return "the mirror may be damaged, outdated or not what it claims to be: try again later, or another --mirror"
	default:
		return "if this is the right archive, name the keyring with its key: --debootstrapopts keyring=FILE"
	}
}
