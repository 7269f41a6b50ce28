// SPDX-License-Identifier: Apache-2.0

package luks

import (
	"bytes"
	"crypto/aes"
	"testing"

	"golang.org/x/crypto/xts"
)

func TestXTSIsThatOfTheCryptoLibrary(t *testing.T) {
	t.Parallel()
	key := random(keySize)
	ours, err := newXTS(key)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{16, 112, 128, 144, 512, SectorSize} {
		for _, number := range []uint64{0, 1, 255, 1 << 32, 1<<63 + 7} {
			plain, got, want := random(length), make([]byte, length), make([]byte, length)
			ours.encrypt(got, plain, number)
			theirs.Encrypt(want, plain, number)
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes of sector %d: got %x, want %x", length, number, got, want)
			}
			if ours.encrypt(plain, plain, number); !bytes.Equal(plain, want) {
				t.Errorf("%d bytes of sector %d, in place: got %x, want %x", length, number, plain, want)
			}
		}
	}
}
