// SPDX-License-Identifier: Apache-2.0

package fsread

import (
	"bytes"
	"encoding/binary"
)

// Decode decodes a structure from the beginning of data, which is long enough.
func Decode(data []byte, order binary.ByteOrder, structure any) {
	if _, err := binary.Decode(data, order, structure); err != nil {
		panic("BUG: " + err.Error())
	}
}

// Text returns a text that ends with a zero byte, or with the field.
func Text(field []byte) string {
	text, _, _ := bytes.Cut(field, []byte{0})
	return string(text)
}
