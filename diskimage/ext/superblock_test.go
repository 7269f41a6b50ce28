// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// mke2fsConfigs are the features in mke2fs.conf of a generation (v1.42.12, debian/1.47.0-2,
// debian/1.47.2-3), so that every mke2fs chooses the same ones. large_file is added to 1.42, see
// features.go.
var mke2fsConfigs = map[string]string{
	"1.42": "has_journal,extent,huge_file,flex_bg,uninit_bg,dir_nlink,extra_isize",
	"1.44": "has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize",
	"1.47": "has_journal,extent,huge_file,flex_bg,metadata_csum,metadata_csum_seed,64bit,dir_nlink,extra_isize," +
		"orphan_file",
}

// mke2fsConfig writes the configuration file of a generation.
func mke2fsConfig(t *testing.T, generation string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mke2fs.conf")
	text := "[defaults]\nbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr\n" +
		"default_mntopts = acl,user_xattr\nenable_periodic_fsck = 0\nblocksize = 4096\ninode_size = 256\ninode_ratio = 16384\n" +
		"[fs_types]\next3 = {\nfeatures = has_journal\n}\next4 = {\nfeatures = " + cmp.Or(mke2fsConfigs[generation],
		"has_journal") + "\n}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// superblock returns the fields of the superblock that dumpe2fs prints in lines of "name: value".
func superblock(t *testing.T, image string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(diskimagetest.Run(t, "dumpe2fs", "-h", image)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func TestSuperblockIsThatOfMke2fs(t *testing.T) {
	t.Parallel()
	// The fields in which mke2fs differs: those from the clock, and the amount of data written.
	differs := []string{"Filesystem created", "Last write time", "Last checked", "Lifetime writes", "Checksum"}
	sizes := []diskimage.Size{
		2 * diskimage.MiB, 8 * diskimage.MiB, 12345678, 128*diskimage.MiB + 8192, 600*diskimage.MiB - 512,
		3 * diskimage.GiB, 20 * diskimage.GiB, 300 * diskimage.GiB,
	}
	for _, k := range kinds {
		for _, size := range sizes {
			if k.skips(size) {
				continue
			}
			t.Run(k.String()+"/"+size.String(), func(t *testing.T) {
				t.Parallel()
				theirs := filepath.Join(t.TempDir(), "theirs")
				if err := os.WriteFile(theirs, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(theirs, int64(size)); err != nil {
					t.Fatal(err)
				}
				diskimagetest.Run(t, "env", "MKE2FS_CONFIG="+mke2fsConfig(t, k.generation),
					diskimagetest.Tool(t, "mke2fs"),
					"-q", "-F", "-t", k.fsType, "-T", "default", "-L", "rootfs", "-U", testUUID.String(),
					"-E", fmt.Sprintf("hash_seed=%s", testSeed), theirs)
				want := superblock(t, theirs)
				got := superblock(t, write(t, size, filesystem(k.fsType, k.generation), fstest.Tree{fstest.Dir(".")}))
				names := maps.Clone(want)
				maps.Copy(names, got)
				for _, name := range slices.Sorted(maps.Keys(names)) {
					if got[name] != want[name] && !slices.Contains(differs, name) {
						t.Errorf("%s: got %q, want %q", name, got[name], want[name])
					}
				}
			})
		}
	}
}
