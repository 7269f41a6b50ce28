// SPDX-License-Identifier: Apache-2.0

// Package luks writes LUKS2 containers: an encrypted file system behind a header with key slots, as
// cryptsetup-luksFormat(8) makes it and the kernel's dm-crypt reads it. No device mapper, no
// cryptsetup and no privileges are needed, because the file system is encrypted while it is
// written.
//
// New makes a header with one key slot for each key, and a random volume key. Container.Volume
// encrypts a planned file system with that key. The header has the same structures as that of
// cryptsetup 2.x, encoded by the types of github.com/containers/luksy: AES-256 in XTS mode, in
// sectors of 4 KiB, and Argon2id for the keys.
//
// luksy's own function EncryptV2 is not used: the checksum of its second header is wrong
// (cryptsetup repairs it at the first use), it encrypts only from the beginning to the end, on one
// processor at 100 MB/s, and it chooses UUID, Argon2i and costs itself.
//
// Two containers never have the same bytes: salts and volume key are random. A volume key that
// could be computed, from a seed or from the passphrase, would be known to all who know that, also
// after the passphrase has been changed.
//
// Blocks that the file system does not use stay holes, as on a disk on which they were discarded:
// the image shows how much of it is used and where, but nothing of the content. If the file system
// does not know its free space (diskimage.UsedSpace), every block is written.
//
// Not supported: reading, LUKS1, other ciphers, detached headers, integrity (dm-integrity) and
// changing key slots, which cryptsetup does.
//
// Reference: LUKS2 On-Disk Format Specification, https://gitlab.com/cryptsetup/LUKS2-docs.
package luks
