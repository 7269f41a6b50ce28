// SPDX-License-Identifier: Apache-2.0

package luks

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/xts"
)

// These tests run the assembly of the processor that they run on. That of arm64 runs anywhere with
// "GOARCH=arm64 go test -exec qemu-aarch64 -run XTS".

// newCiphers returns the cipher of a key with assembly, if this processor has it, and without.
func newCiphers(t *testing.T, key []byte) map[string]*sectorCipher {
	t.Helper()
	x, err := newXTS(key)
	if err != nil {
		t.Fatal(err)
	}
	ciphers := map[string]*sectorCipher{"crypto/aes": {data: x.data, tweak: x.tweak}}
	if x.keys != nil {
		ciphers["assembly"] = x
	}
	return ciphers
}

func TestXTSIsThatOfTheCryptoLibrary(t *testing.T) {
	t.Parallel()
	key := random(keySize)
	theirs, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		t.Fatal(err)
	}
	var tweak [aes.BlockSize]byte
	for name, ours := range newCiphers(t, key) {
		for _, length := range []int{16, 112, 128, 144, 512, SectorSize} {
			for _, number := range []uint64{0, 1, 255, 1 << 32, 1<<63 + 7} {
				plain, got, want := random(length), make([]byte, length), make([]byte, length)
				ours.encrypt(got, plain, number, &tweak)
				theirs.Encrypt(want, plain, number)
				if !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes of sector %d: got %x, want %x", name, length, number, got, want)
				}
				if ours.encrypt(plain, plain, number, &tweak); !bytes.Equal(plain, want) {
					t.Errorf("%s: %d bytes of sector %d, in place: got %x, want %x", name, length, number, plain, want)
				}
			}
		}
	}
}

// TestXTSIsThatOfTheStandard encrypts vector 10 of IEEE 1619-2007, appendix B: AES-256, sector 255.
func TestXTSIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	key := fromHex(t, "2718281828459045235360287471352662497757247093699959574966967627"+
		"3141592653589793238462643383279502884197169399375105820974944592")
	plain := make([]byte, 512)
	for i := range plain {
		plain[i] = byte(i)
	}
	want := fromHex(t, vector10)
	var tweak [aes.BlockSize]byte
	for name, x := range newCiphers(t, key) {
		got := make([]byte, len(plain))
		if x.encrypt(got, plain, 255, &tweak); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
}

const vector10 = "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44" +
	"680a86ac35adfc3345befecb4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0" +
	"c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7d" +
	"e8b062c4500dc4cd120c0f7418dae3d0b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f" +
	"93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec583e9645e07b8d9670655ba5bbcfecc6" +
	"dc3966380ad8fecb17b6ba02469a020a84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1" +
	"505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1bec9de244fbe15992b" +
	"11b77c040f12bd8f6a975a44a0f90c29a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac" +
	"6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f645e8b7e9bfdef33943054ff84011493" +
	"c27b3429eaedb4ed5376441a77ed43851ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa" +
	"773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151"

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestExpandedKeyIsThatOfTheStandard compares words of appendix A.3 of FIPS 197.
func TestExpandedKeyIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	if !hasAES {
		t.Skip("this processor has no AES instructions")
	}
	keys := expandKey(fromHex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"))
	for i, want := range map[int]uint32{8: 0x1154a39b, 12: 0x1a9cb0a8, 59: 0x1e636c70} {
		if keys[i] != want {
			t.Errorf("word %d: got %08x, want %08x", i, keys[i], want)
		}
	}
}
