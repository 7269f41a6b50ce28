// SPDX-License-Identifier: Apache-2.0

package luks

import "strings"

// modhex are the digits of a recovery key: letters that most keyboard layouts have in the same places.
const modhex = "cbdefghijklnrtuv"

const (
	recoveryBytes = 32
	// recoveryGroup is the number of digits between dashes.
	recoveryGroup = 8
)

// NewRecoveryKey returns a random passphrase of 256 bits, in the form that systemd-cryptenroll(1) prints: eight groups
// of eight letters, with dashes between them.
func NewRecoveryKey() string {
	var b strings.Builder
	for i, value := range random(recoveryBytes) {
		if i > 0 && i%(recoveryGroup/2) == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(modhex[value>>4])
		b.WriteByte(modhex[value&0xf])
	}
	return b.String()
}
