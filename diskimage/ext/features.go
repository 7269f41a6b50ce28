// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// features are the feature flags of a file system.
type features struct {
	compat   disk.Compat
	incompat disk.Incompat
	roCompat disk.ROCompat
}

// with returns the union of two sets.
func (f features) with(g features) features {
	return features{f.compat | g.compat, f.incompat | g.incompat, f.roCompat | g.roCompat}
}

func (f features) journal() bool    { return f.compat&disk.CompatHasJournal != 0 }
func (f features) orphanFile() bool { return f.compat&disk.CompatOrphanFile != 0 }
func (f features) extents() bool    { return f.incompat&disk.IncompatExtents != 0 }
func (f features) bits64() bool     { return f.incompat&disk.Incompat64Bit != 0 }
func (f features) flexGroups() bool { return f.incompat&disk.IncompatFlexBG != 0 }
func (f features) csumSeed() bool   { return f.incompat&disk.IncompatCsumSeed != 0 }
func (f features) dirNlink() bool   { return f.roCompat&disk.ROCompatDirNlink != 0 }
func (f features) metaCsum() bool   { return f.roCompat&disk.ROCompatMetadataCsum != 0 }
func (f features) gdtCsum() bool    { return f.roCompat&disk.ROCompatGDTCsum != 0 }
func (f features) groupsCsum() bool { return f.metaCsum() || f.gdtCsum() }
func (f features) withoutJournal() features {
	f.compat &^= disk.CompatHasJournal | disk.CompatOrphanFile
	return f
}

// The feature sets. Two programs must understand a file system: the e2fsck of the installed system,
// which rejects unknown features and so stops the boot, and the boot loader, which reads the
// kernel. So the generation of e2fsprogs determines the set, as its mke2fs chose it (unless noted
// otherwise, misc/mke2fs.conf.in of e2fsprogs at the tags v1.42.5, v1.42.12, v1.43.4, v1.44.5,
// v1.46.2, debian/1.47.0-2 and debian/1.47.2-3). The columns are ext2 and ext3, and for ext4 the
// generations 1.42 (o, ext4Oldest), 1.44 (c, ext4Checksums) and 1.47 (n, ext4Newest):
//
//	feature             2 3 o c n  reason and source
//	sparse_super        x x x x x  copies of the superblock in few groups; base_features of every mke2fs.conf
//	large_file          x x x x x  files of 2 GiB and more; in base_features since 1.43. Before, the kernel set it when
//	                               such a file was created, and here the tree may hold one
//	filetype            x x x x x  types of files in directories; base_features
//	ext_attr            x x x x x  capabilities and access control lists; base_features
//	dir_index           x x x x x  large directories are hashed; base_features. Loaders without it (syslinux)
//	                               see ordinary blocks
//	resize_inode        x x x x x  resize2fs can make it 1,024 times as large while it is mounted; base_features
//	has_journal         - x x x x  none below 8 MiB, as in mke2fs. syslinux and GRUB ignore the journal
//	extent              - - x x x  defines ext4; since 1.41 (lenny). All loaders named below read it
//	flex_bg             - - x x x  metadata of 16 groups together; since 1.41
//	huge_file           - - x x x  i_blocks of 48 bits: files of 2 TiB and more; since 1.41
//	dir_nlink           - - x x x  more than 65,000 subdirectories; since 1.41
//	extra_isize         - - x x x  nanoseconds, creation time, times after 2038; since 1.41
//	uninit_bg           - - x - -  checksums of group descriptors; since 1.41. metadata_csum replaces it
//	64bit               - - - x x  descriptors of 64 bytes, with 32 bits of each checksum. mke2fs has it since 1.43
//	                               (stretch), but the syslinux of stretch (6.03) cannot read such descriptors; Debian's
//	                               since buster can (changelog: "ext4: Support 64bit feature")
//	metadata_csum       - - - x x  checksums of everything but data; since 1.44. e2fsck 1.42 (jessie, xenial) rejects it
//	                               (EXT2_LIB_FEATURE_RO_COMPAT_SUPP in lib/ext2fs/ext2fs.h), 1.43 knows it. Loaders only
//	                               read and need not look
//	metadata_csum_seed  - - - - x  the UUID can be changed while it is mounted; since 1.47.0, but not in bookworm, whose
//	                               1.47.0-2 disabled it again (Debian bugs 1030939 and 1031622). e2fsck 1.46 and GRUB
//	                               2.06 without Debian's patches reject it
//	orphan_file         - - - - x  a file instead of a list of inodes being deleted; otherwise as metadata_csum_seed.
//	                               e2fsck 1.46 rejects it although it is only "compat"; loaders ignore it
//
// Never set, because some loader rejects it or silently misreads it: meta_bg, inline_data,
// bigalloc, ea_inode, casefold, encrypt. The loaders of bookworm and trixie read all features that
// are set: GRUB 2.06 and 2.12 (grub-core/fs/ext2.c, EXT2_DRIVER_SUPPORTED_INCOMPAT and
// EXT2_DRIVER_IGNORED_INCOMPAT), syslinux 6.04 (core/fs/ext2, which checks no feature except the
// size of descriptors), U-Boot 2025.01 (fs/ext4/ext4_common.c).
var (
	baseFeatures = features{
		compat:   disk.CompatExtAttr | disk.CompatResizeInode | disk.CompatDirIndex,
		incompat: disk.IncompatFiletype,
		roCompat: disk.ROCompatSparseSuper | disk.ROCompatLargeFile,
	}
	ext3Features = baseFeatures.with(features{compat: disk.CompatHasJournal})
	ext4Common   = ext3Features.with(features{
		incompat: disk.IncompatExtents | disk.IncompatFlexBG,
		roCompat: disk.ROCompatHugeFile | disk.ROCompatDirNlink | disk.ROCompatExtraIsize,
	})
	ext4Oldest    = ext4Common.with(features{roCompat: disk.ROCompatGDTCsum})
	ext4Checksums = ext4Common.with(features{incompat: disk.Incompat64Bit, roCompat: disk.ROCompatMetadataCsum})
	ext4Newest    = ext4Checksums.with(features{compat: disk.CompatOrphanFile, incompat: disk.IncompatCsumSeed})
)

// Generations of e2fsprogs, the values of Filesystem.Features for ext4. Each lasts until the next.
const (
	// E2fsprogs142 is the default. Everything reads it: e2fsck since 1.42, every version of
	// syslinux.
	E2fsprogs142 = "1.42"
	// E2fsprogs144 has checksums of everything except data. It needs e2fsck 1.43.
	E2fsprogs144 = "1.44"
	// E2fsprogs147 needs e2fsck 1.47.
	E2fsprogs147 = "1.47"
)

// ext4Generations are the features of the generations.
var ext4Generations = map[string]features{
	"": ext4Oldest, E2fsprogs142: ext4Oldest, E2fsprogs144: ext4Checksums, E2fsprogs147: ext4Newest,
}

// featuresOf returns the features of a type of file system and, for ext4, of a generation.
func featuresOf(fsType, generation string) (features, error) {
	switch fsType {
	case "ext2":
		return baseFeatures, nil
	case "ext3":
		return ext3Features, nil
	case "ext4":
		f, ok := ext4Generations[generation]
		if !ok {
			return features{}, fmt.Errorf("unknown features %q of ext4; want one of %s, %s, %s", generation,
				E2fsprogs142, E2fsprogs144, E2fsprogs147)
		}
		return f, nil
	}
	return features{}, fmt.Errorf("file system type %q is not ext2, ext3 or ext4", fsType)
}
