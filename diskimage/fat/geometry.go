// SPDX-License-Identifier: Apache-2.0

package fat

import (
	"math"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

const (
	firstCluster = 2 // clusters 0 and 1 do not exist; their entries in the FAT have other meanings
	fatCopies    = 2

	// fat16From is the minimum length of a FAT16; shorter file systems are FAT12.
	fat16From = 16 * diskimage.MiB
	// fat16Cluster is the minimum cluster size of a FAT16: with 2 KiB, 16 MiB to 64 MiB are 8192 to
	// 32768 clusters.
	fat16Cluster = 2 * diskimage.KiB

	// The number of clusters alone determines the type of FAT (fatgen, "FAT Type Determination").
	maxClusters12 = 4084
	maxClusters16 = 65524
	maxClusters32 = 0x0ffffff5 - firstCluster

	rootEntries16 = 512 // of FAT12 and FAT16; every implementation expects this number on a hard disk
	reserved16    = 1   // minimum of sectors before the first FAT: the boot sector
	reserved32    = 32  // the boot sector, FSInfo, the copies of both, and room
)

// clusters32 lists the cluster sizes of a FAT32 by the length of the file system, from the table in
// fatgen, "FAT Volume Initialization". A cluster has at least one sector.
var clusters32 = []struct{ upTo, cluster diskimage.Size }{
	{260 * diskimage.MiB, 512}, {8 * diskimage.GiB, 4 * diskimage.KiB}, {16 * diskimage.GiB, 8 * diskimage.KiB},
	{32 * diskimage.GiB, 16 * diskimage.KiB}, {math.MaxUint64, 32 * diskimage.KiB},
}

// geometry is the layout of the file system: reserved sectors, FATs, root directory (FAT12 and
// FAT16), clusters. Numbers are in sectors unless noted otherwise.
type geometry struct {
	sectorSize  uint32 // in bytes
	bits        int    // 12, 16 or 32
	sectors     uint32
	perCluster  uint32
	reserved    uint32
	fat         uint32 // length of one FAT
	rootEntries int    // 0 for FAT32, whose root directory is like any other
	clusters    uint32 // number of clusters
}

// newGeometry returns the layout of a file system of size bytes on a disk with sectors of
// sectorSize bytes.
func newGeometry(size, sectorSize diskimage.Size) (geometry, error) {
	// 32-bit sector numbers reach 2 TiB with sectors of 512 bytes; the rest stays unused.
	g := geometry{sectorSize: uint32(sectorSize), sectors: uint32(min(size/sectorSize, math.MaxUint32)), perCluster: 1}
	limit := uint32(maxClusters12)
	switch {
	case size >= diskimage.FAT32From(sectorSize):
		limit, g.bits = maxClusters32, 32
		for _, c := range clusters32 {
			if size <= c.upTo {
				g.perCluster = g.sectorsOf(c.cluster)
				break
			}
		}
	case size >= fat16From:
		limit, g.bits, g.rootEntries, g.perCluster = maxClusters16, 16, rootEntries16, g.sectorsOf(fat16Cluster)
	default:
		g.bits, g.rootEntries = 12, rootEntries16
	}
	for g.sectors/g.perCluster > limit && g.bits != 32 {
		g.perCluster *= 2
	}
	if !g.divide() {
		return g, &diskimage.NoSpaceError{
			What: "sectors", Needed: uint64(g.overhead()) + uint64(g.perCluster), Available: uint64(g.sectors),
			BlockSize: uint64(g.sectorSize),
		}
	}
	return g, nil
}

// sectorsOf returns the length of a cluster in sectors, at least one.
func (g *geometry) sectorsOf(cluster diskimage.Size) uint32 {
	return max(uint32(cluster)/g.sectorSize, 1)
}

// divide divides the sectors between FATs and clusters. The FAT must have an entry for each
// cluster, and each entry takes room from the clusters, so the FAT grows until all entries fit.
// divide returns false if nothing is left for clusters.
func (g *geometry) divide() bool {
	base := uint32(reserved16)
	if g.bits == 32 {
		base = reserved32
	}
	for g.fat = 1; ; g.fat++ {
		g.reserved = base
		// A multiple of the cluster size before the first cluster aligns the clusters like the
		// partition.
		if rest := g.overhead() % g.perCluster; rest != 0 {
			g.reserved += g.perCluster - rest
		}
		if g.overhead()+g.perCluster > g.sectors {
			return false
		}
		g.clusters = min((g.sectors-g.overhead())/g.perCluster, maxClusters32)
		needed := (uint64(g.clusters+firstCluster)*uint64(g.bits) + 8*uint64(g.sectorSize) - 1) /
			(8 * uint64(g.sectorSize))
		if needed <= uint64(g.fat) {
			return true
		}
	}
}

// rootSectors returns the length of the fixed root directory.
func (g *geometry) rootSectors() uint32 { return uint32(g.rootEntries) * dirEntrySize / g.sectorSize }

// overhead returns the number of sectors before the first cluster.
func (g *geometry) overhead() uint32 { return g.reserved + fatCopies*g.fat + g.rootSectors() }

// clusterSize returns the size of a cluster in bytes.
func (g *geometry) clusterSize() uint32 { return g.perCluster * g.sectorSize }

// clusterOffset returns the offset of a cluster in bytes.
func (g *geometry) clusterOffset(cluster uint32) int64 {
	return int64(g.overhead())*int64(g.sectorSize) + int64(cluster-firstCluster)*int64(g.clusterSize())
}

// fatOffset returns the offset of a copy of the FAT in bytes.
func (g *geometry) fatOffset(copyNumber int) int64 {
	return (int64(g.reserved) + int64(copyNumber)*int64(g.fat)) * int64(g.sectorSize)
}

// rootOffset returns the offset of the fixed root directory in bytes.
func (g *geometry) rootOffset() int64 { return g.fatOffset(fatCopies) }
