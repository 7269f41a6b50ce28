package ext

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// mke2fsOptions make mke2fs choose the features that the mke2fs of a release chose by itself.
var mke2fsOptions = map[kind]string{
	{"ext2", ""}:         "none",
	{"ext3", ""}:         "none",
	{"ext4", "jessie"}:   "^64bit,^metadata_csum,uninit_bg,^metadata_csum_seed,^orphan_file",
	{"ext4", "bookworm"}: "64bit,metadata_csum,^metadata_csum_seed,^orphan_file",
	{"ext4", "trixie"}:   "64bit,metadata_csum,metadata_csum_seed,orphan_file",
}

// superblock reads what dumpe2fs says of the superblock, in lines of "name: value".
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
	// What mke2fs counts differently: where it looks at the clock, and what it has written.
	differs := []string{"Filesystem created", "Last write time", "Last checked", "Lifetime writes", "Checksum"}
	sizes := []diskimage.Size{
		2 * diskimage.MiB, 8 * diskimage.MiB, 12345678, 128*diskimage.MiB + 8192, 600*diskimage.MiB - 512,
		3 * diskimage.GiB, 20 * diskimage.GiB, 300 * diskimage.GiB,
	}
	for _, k := range kinds {
		for _, size := range sizes {
			if k.unfit(size) {
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
				diskimagetest.Run(t, "mke2fs", "-q", "-F", "-t", k.fsType, "-T", "default", "-b", "4096", "-I", "256",
					"-i", "16384", "-O", strings.TrimPrefix(mke2fsOptions[k], "none"), "-L", "rootfs", "-U", testUUID.String(),
					"-E", fmt.Sprintf("hash_seed=%s", testSeed), theirs)
				want := superblock(t, theirs)
				got := superblock(t, write(t, size, filesystem(k.fsType, k.release), memTree{dirAt(".")}))
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
