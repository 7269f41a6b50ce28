// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// generation is i_generation of all inodes here, which takes part in their checksums.
const generation = 0

// checksums are the features and the checksums that they ask for.
type checksums struct {
	features
	sums disk.Checksums
}

func newChecksums(f features, id uuid.UUID) checksums {
	return checksums{features: f, sums: disk.Checksums{Features: f.roCompat, UUID: id, Seed: disk.SeedOf(id)}}
}
