package builder

import (
	"crypto/sha256"

	"github.com/google/uuid"
)

// Seed is where every ID of an image comes from: file systems, partitions, the disk. The same seed gives the same
// IDs; two images that may meet in one machine need different seeds.
type Seed [32]byte

// NewSeed makes a seed from what tells one image from another: random bytes, or SOURCE_DATE_EPOCH and the Spec.
func NewSeed(parts ...[]byte) Seed {
	h := sha256.New()
	for _, p := range parts {
		sum := sha256.Sum256(p)
		h.Write(sum[:])
	}
	return Seed(h.Sum(nil))
}

// UUID derives the ID of one thing from the seed. It is a version 8 UUID (RFC 9562, section 5.8), which is free to
// be made this way.
func (s Seed) UUID(of string) uuid.UUID {
	sum := sha256.Sum256(append(s[:], of...))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Uint32 derives a number, not 0, which means "none" for msdos disk signatures.
func (s Seed) Uint32(of string) uint32 {
	id := s.UUID(of)
	n := uint32(id[0]) | uint32(id[1])<<8 | uint32(id[2])<<16 | uint32(id[3])<<24
	return max(n, 1)
}
