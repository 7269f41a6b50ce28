// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"encoding/binary"
	"math/bits"

	"github.com/google/uuid"
)

// hashSeed is s_hash_seed as the hash uses it.
type hashSeed [4]uint32

// newHashSeed reads a seed; all zeros stand for the initial values of MD4 (fs/ext4/hash.c).
func newHashSeed(id uuid.UUID) hashSeed {
	if id == uuid.Nil {
		return hashSeed{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	}
	var seed hashSeed
	for i := range seed {
		seed[i] = binary.LittleEndian.Uint32(id[4*i:])
	}
	return seed
}

// dirHash returns the hash of a name in a directory index: half of MD4 over the name, its bytes
// taken as signed (EXT4_HASH_HALF_MD4 with EXT2_FLAGS_SIGNED_HASH). The lowest bit is always clear,
// because an index uses it as a flag.
func (seed hashSeed) dirHash(name string) uint32 {
	const chunk = 32
	state := seed
	for len(name) > 0 {
		state = halfMD4(state, hashWords(name))
		name = name[min(chunk, len(name)):]
	}
	hash := state[1] &^ 1
	const end = 0x7FFFFFFF << 1 // EXT4_HTREE_EOF_32BIT, which no name may have
	if hash == end {
		hash = (0x7FFFFFFF - 1) << 1
	}
	return hash
}

// hashWords converts the next 32 bytes of a name to the eight words of one round, padded with the
// length of the rest of the name (str2hashbuf_signed).
func hashWords(name string) [8]uint32 {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	var words [8]uint32
	for w := range words {
		words[w] = pad
		for i := 4 * w; i < min(4*w+4, len(name)); i++ {
			words[w] = uint32(int32(int8(name[i]))) + words[w]<<8
		}
	}
	return words
}

// halfMD4 computes the kernel's half_md4_transform: MD4 with 24 of its 48 steps.
func halfMD4(state hashSeed, in [8]uint32) hashSeed {
	f := func(x, y, z uint32) uint32 { return z ^ (x & (y ^ z)) }
	g := func(x, y, z uint32) uint32 { return (x & y) + ((x ^ y) & z) }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	rounds := [3]struct {
		mix    func(x, y, z uint32) uint32
		add    uint32
		order  [8]int
		rotate [4]int
	}{
		{f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{g, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{h, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := state[0], state[1], state[2], state[3]
	for _, r := range rounds {
		for i, word := range r.order {
			// A step changes a; then the variables rotate, so that the next step changes the
			// current d.
			a = bits.RotateLeft32(a+r.mix(b, c, d)+in[word]+r.add, r.rotate[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	return hashSeed{state[0] + a, state[1] + b, state[2] + c, state[3] + d}
}
