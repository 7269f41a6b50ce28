package ext

import (
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
)

// features is what a file system promises or demands of those who read it.
type features struct {
	compat   disk.Compat
	incompat disk.Incompat
	roCompat disk.ROCompat
}

// with gives the union of two sets.
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

// Feature sets, each as mke2fs of some Debian release makes it with its own mke2fs.conf(5) (e2fsprogs,
// misc/mke2fs.conf.in at the tags named).
var (
	// baseFeatures is base_features of mke2fs.conf, the same in all releases: all that ext2 has.
	baseFeatures = features{
		compat:   disk.CompatExtAttr | disk.CompatResizeInode | disk.CompatDirIndex,
		incompat: disk.IncompatFiletype,
		roCompat: disk.ROCompatSparseSuper | disk.ROCompatLargeFile,
	}
	ext3Features = baseFeatures.with(features{compat: disk.CompatHasJournal})
	// ext4Common is what ext4 has had since Debian 6.
	ext4Common = ext3Features.with(features{
		incompat: disk.IncompatExtents | disk.IncompatFlexBG,
		roCompat: disk.ROCompatHugeFile | disk.ROCompatDirNlink | disk.ROCompatExtraIsize,
	})
	// ext4Oldest has checksums of the group descriptors only (v1.42.5, v1.42.12). mke2fs of stretch (v1.43.4) adds
	// 64bit; it is left out here because syslinux up to 6.03, which is stretch's, cannot read such descriptors.
	ext4Oldest = ext4Common.with(features{roCompat: disk.ROCompatGDTCsum})
	// ext4Checksums has checksums everywhere (v1.44.5, v1.46.2, debian/1.47.0-2). All of Debian's boot loaders since
	// buster read it, and e2fsck since 1.43.
	ext4Checksums = ext4Common.with(features{incompat: disk.Incompat64Bit, roCompat: disk.ROCompatMetadataCsum})
	// ext4Newest adds what debian/1.47.2 switches on (bookworm's 1.47.0-2 switched it off once more, Debian bugs
	// 1030939 and 1031622). Older e2fsck refuses both: 1.46 does not know orphan_file, though it is only "compat".
	ext4Newest = ext4Checksums.with(features{compat: disk.CompatOrphanFile, incompat: disk.IncompatCsumSeed})
)

// ext4Releases are the releases that do not get ext4Checksums.
var ext4Releases = map[string]features{
	"":         ext4Oldest, // the contract of diskimage.Filesystem: what everything reads
	"lenny":    ext4Oldest,
	"squeeze":  ext4Oldest,
	"wheezy":   ext4Oldest,
	"jessie":   ext4Oldest,
	"stretch":  ext4Oldest,
	"trixie":   ext4Newest,
	"forky":    ext4Newest,
	"duke":     ext4Newest,
	"sid":      ext4Newest,
	"testing":  ext4Newest,
	"unstable": ext4Newest,
}

// featuresOf chooses the features for a type of file system and the codename of a release. A codename that is not
// known gets those of bookworm, which everything since 2018 reads.
func featuresOf(fsType, release string) (features, error) {
	switch fsType {
	case "ext2":
		return baseFeatures, nil
	case "ext3":
		return ext3Features, nil
	case "ext4":
		if f, ok := ext4Releases[release]; ok {
			return f, nil
		}
		return ext4Checksums, nil
	}
	return features{}, fmt.Errorf("file system type %q is not ext2, ext3 or ext4", fsType)
}
