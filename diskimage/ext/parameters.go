// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// parameters are the requested properties, except size and tree.
type parameters struct {
	checksums // with the features and the UUID
	fsType    string
	label     string
	time      stamp
	hashUUID  uuid.UUID // s_hash_seed
	hashSeed  hashSeed
}

func newParameters(fs diskimage.Filesystem) (parameters, error) {
	f, err := featuresOf(fs.Type, fs.Features)
	if err != nil {
		return parameters{}, err
	}
	if len(fs.Label) > disk.LabelSize || strings.ContainsRune(fs.Label, 0) {
		return parameters{}, fmt.Errorf("label %q of %s: want at most %d bytes other than NUL",
			fs.Label, fs.Type, disk.LabelSize)
	}
	return parameters{
		checksums: newChecksums(f, fs.UUID),
		fsType:    fs.Type,
		label:     fs.Label,
		time:      newStamp(fs.Time),
		hashUUID:  fs.Seed,
		hashSeed:  newHashSeed(fs.Seed),
	}, nil
}
