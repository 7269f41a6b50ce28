// SPDX-License-Identifier: Apache-2.0

package luks

import (
	"crypto/aes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/containers/luksy"
	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	// HeaderSize is the space before the encrypted file system: 16 MiB, as cryptsetup leaves it. It has room for all key
	// slots of LUKS2.
	HeaderSize = 16 * diskimage.MiB
	// metadataSize is the length of each of the two copies of the metadata, the minimum.
	metadataSize = 16 << 10
	// SectorSize is the unit of encryption. That of cryptsetup is 4 KiB as well on disks with physical sectors of that
	// size. The partition must be a multiple of it.
	SectorSize = 4 << 10

	// keySize is the length of the volume key: two keys of AES-256.
	keySize = 64
	// saltSize is the length of all salts in the JSON.
	saltSize = 32
	cipher   = "aes-xts-plain64"
	hash     = "sha256"
	// digestIterations protect a volume key, which is random and cannot be guessed.
	digestIterations = 100_000
	// slotSize is the length of the area of a key slot: the split volume key, rounded up to 4 KiB.
	slotSize = (keySize*luksy.V2Stripes + luksy.V2AlignKeyslots - 1) &^ (luksy.V2AlignKeyslots - 1)
	// maxKeys is the maximum number of key slots in cryptsetup.
	maxKeys = 32
)

// The costs of Argon2id are fixed, because the machine that builds an image is not the one that unlocks it: a benchmark
// as that of cryptsetup may require a GiB of memory. These are the second recommendation of RFC 9106, for machines with
// little memory; cryptsetup-luksConvertKey(8) raises them.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // in KiB
	argonThreads = 4
)

// Key is a secret that opens a container: a passphrase, or the content of a key file.
type Key struct {
	Secret []byte
	// Recovery marks the key slot as that of a recovery key, for systemd-cryptenroll(1).
	Recovery bool
}

// Container is an encrypted container.
type Container struct {
	header []byte // metadata and key slots
	data   *sectorCipher
}

// New makes a container that each of the keys opens. The UUID names the container; it should not be that of the file
// system in it.
func New(id uuid.UUID, keys []Key) (*Container, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%d keys: want 1 to %d", len(keys), maxKeys)
	}
	volumeKey := random(keySize)
	metadata, err := newMetadata(volumeKey, keys)
	if err != nil {
		return nil, err
	}
	c := &Container{header: make([]byte, slotOffset(len(keys)))}
	if err := c.writeMetadata(id, metadata); err != nil {
		return nil, err
	}
	for i, key := range keys {
		slot := metadata.Keyslots[strconv.Itoa(i)]
		if err := c.writeKey(slot, volumeKey, key.Secret); err != nil {
			return nil, fmt.Errorf("key slot %d: %w", i, err)
		}
	}
	c.data, err = newXTS(volumeKey)
	return c, err
}

// random returns random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never returns an error
	return b
}

// slotOffset returns the offset of the area of a key slot.
func slotOffset(slot int) int { return 2*metadataSize + slot*slotSize }

// newMetadata returns the metadata with a key slot for each key.
func newMetadata(volumeKey []byte, keys []Key) (luksy.V2JSON, error) {
	salt := random(saltSize)
	digest, err := pbkdf2.Key(sha256.New, string(volumeKey), salt, digestIterations, sha256.Size)
	if err != nil {
		return luksy.V2JSON{}, fmt.Errorf("digest of the volume key: %w", err)
	}
	m := luksy.V2JSON{
		Config: luksy.V2JSONConfig{
			JsonSize: metadataSize - luksy.V2SectorSize, KeyslotsSize: int(HeaderSize) - slotOffset(0),
		},
		Keyslots: map[string]luksy.V2JSONKeyslot{},
		Segments: map[string]luksy.V2JSONSegment{"0": {
			Type: "crypt", Offset: strconv.Itoa(int(HeaderSize)), Size: "dynamic",
			V2JSONSegmentCrypt: &luksy.V2JSONSegmentCrypt{Encryption: cipher, SectorSize: SectorSize},
		}},
		Tokens: map[string]luksy.V2JSONToken{},
	}
	var names []string
	for i, key := range keys {
		name := strconv.Itoa(i)
		names = append(names, name)
		m.Keyslots[name] = newSlot(i)
		if key.Recovery {
			m.Tokens[strconv.Itoa(len(m.Tokens))] = luksy.V2JSONToken{Type: "systemd-recovery", Keyslots: []string{name}}
		}
	}
	m.Digests = map[string]luksy.V2JSONDigest{"0": {
		Type: "pbkdf2", Keyslots: names, Segments: []string{"0"}, Salt: salt, Digest: digest,
		V2JSONDigestPbkdf2: &luksy.V2JSONDigestPbkdf2{Hash: hash, Iterations: digestIterations},
	}}
	return m, nil
}

// newSlot returns the description of a key slot.
func newSlot(number int) luksy.V2JSONKeyslot {
	return luksy.V2JSONKeyslot{
		Type: "luks2", KeySize: keySize,
		Area: luksy.V2JSONArea{
			Type: "raw", Offset: int64(slotOffset(number)), Size: slotSize,
			V2JSONAreaRaw: &luksy.V2JSONAreaRaw{Encryption: cipher, KeySize: keySize},
		},
		V2JSONKeyslotLUKS2: &luksy.V2JSONKeyslotLUKS2{
			AF: luksy.V2JSONAF{
				Type: "luks1", V2JSONAFLUKS1: &luksy.V2JSONAFLUKS1{Stripes: luksy.V2Stripes, Hash: hash},
			},
			Kdf: luksy.V2JSONKdf{
				Type: "argon2id", Salt: random(saltSize),
				V2JSONKdfArgon2i: &luksy.V2JSONKdfArgon2i{Time: argonTime, Memory: argonMemory, CPUs: argonThreads},
			},
		},
	}
}

// writeMetadata writes both copies of the metadata to the header.
func (c *Container) writeMetadata(id uuid.UUID, m luksy.V2JSON) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the metadata: %w", err)
	}
	if len(text) >= m.Config.JsonSize {
		return errors.New("BUG: the metadata is longer than its area")
	}
	for i, magic := range []string{luksy.V2Magic1, luksy.V2Magic2} {
		area := c.header[i*metadataSize : (i+1)*metadataSize]
		var h luksy.V2Header
		if err := errors.Join(h.SetMagic(magic), h.SetVersion(2)); err != nil {
			return err
		}
		h.SetHeaderSize(metadataSize)
		h.SetSequenceID(1)
		h.SetChecksumAlgorithm(hash)
		h.SetSalt(random(len(h.Salt())))
		h.SetUUID(id.String())
		h.SetHeaderOffset(uint64(i * metadataSize))
		copy(area, h[:])
		copy(area[luksy.V2SectorSize:], text)
		sum := sha256.Sum256(area) // with zeros in place of the sum
		h.SetChecksum(sum[:])
		copy(area, h[:])
	}
	return nil
}

// writeKey writes the volume key to the area of a key slot, encrypted with a secret.
func (c *Container) writeKey(slot luksy.V2JSONKeyslot, volumeKey, secret []byte) error {
	if len(secret) == 0 {
		return errors.New("the key is empty")
	}
	kdf := slot.Kdf
	key := argon2.IDKey(secret, kdf.Salt, uint32(kdf.Time), uint32(kdf.Memory), uint8(kdf.CPUs), keySize)
	area, err := newXTS(key)
	if err != nil {
		return err
	}
	const sector = luksy.V1SectorSize // of the areas of key slots, always
	split := splitKey(volumeKey)
	target := c.header[slot.Area.Offset:]
	var tweak [aes.BlockSize]byte
	for i := 0; i < len(split); i += sector {
		area.encrypt(target[i:i+sector], split[i:i+sector], uint64(i/sector), &tweak)
	}
	// As of an area that luksFormat has overwritten, the end says nothing.
	copy(target[len(split):slotSize], random(slotSize-len(split)))
	return nil
}

// splitKey makes many parts of a key, all of which are needed to find it again (AFsplit of the LUKS1 On-Disk Format):
// to erase one of them from a disk erases the key.
func splitKey(key []byte) []byte {
	last := len(key) * (luksy.V2Stripes - 1)
	split := append(random(last), key...)
	mixed := make([]byte, len(key))
	for i := 0; i < last; i += len(key) {
		xorBytes(mixed, split[i:i+len(key)])
		diffuse(mixed)
	}
	xorBytes(split[last:], mixed)
	return split
}

// xorBytes changes a to the exclusive or of a and b.
func xorBytes(a, b []byte) {
	for i := range a {
		a[i] ^= b[i]
	}
}

// diffuse hashes each part of b that is as long as a digest, with its number before it.
func diffuse(b []byte) {
	for i := 0; i < len(b); i += sha256.Size {
		part := b[i : i+sha256.Size]
		sum := sha256.Sum256(append([]byte{0, 0, 0, byte(i / sha256.Size)}, part...))
		copy(part, sum[:])
	}
}
