// SPDX-License-Identifier: Apache-2.0

package f2fs

// dirHash returns the hash of a name in a directory: TEA, 16 bytes of the name at a time, as in ext3 but with
// a fixed seed (fs/f2fs/hash.c of Linux). The names "." and ".." have the hash 0.
func dirHash(name string) uint32 {
	state := [2]uint32{0x67452301, 0xEFCDAB89}
	const chunk = 16
	for {
		encrypt(&state, hashWords(name))
		if len(name) <= chunk {
			return state[0]
		}
		name = name[chunk:]
	}
}

// hashWords converts the first 16 bytes of a name to four words, padded with the length of the rest
// of the name.
func hashWords(name string) (words [4]uint32) {
	const wordSize = 4
	pad := uint32(len(name)) * 0x01010101
	for i := range words {
		word := pad
		for _, c := range []byte(name[min(i*wordSize, len(name)):min((i+1)*wordSize, len(name))]) {
			word = word<<8 + uint32(c)
		}
		words[i] = word
	}
	return words
}

// encrypt adds the state, encrypted by 16 cycles of TEA with the key, to the state.
func encrypt(state *[2]uint32, key [4]uint32) {
	const delta, cycles = 0x9E3779B9, 16
	a, b, sum := state[0], state[1], uint32(0)
	for range cycles {
		sum += delta
		a += (b<<4 + key[0]) ^ (b + sum) ^ (b>>5 + key[1])
		b += (a<<4 + key[2]) ^ (a + sum) ^ (a>>5 + key[3])
	}
	state[0] += a
	state[1] += b
}
