// SPDX-License-Identifier: Apache-2.0

// Package bmap writes block maps: they list the blocks of a raw image that bmaptool(1) must write
// to a disk, with checksums, so that an image of 8 GB with 700 MB of data is flashed in the time of
// 700 MB.
//
// bmaptool leaves blocks that are not in the map as they are on the disk. So the map must contain
// every block whose content matters, including zeros: the free part of a FAT, an unused part of an
// inode table, zeros inside a file. That is why it is made from the knowledge of the image's writer
// (diskimage.Image.Used), not from the holes of the file. bmaptool itself uses the holes, which is
// correct only if no zeros that matter are holes. Data outside the used extents is in the map as
// well.
//
// The format is version 2.0, described in bmaptool/BmapCreate.py of bmap-tools. The same image
// always results in the same map. Not supported: reading, checksums other than SHA-256, earlier
// versions.
package bmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

// Suffix is appended to the name of an image to form the name of its map, by which bmaptool finds
// it.
const Suffix = ".bmap"

// blockSize is the unit of the map, which is the block size of most file systems.
const blockSize = 4096

// blockRange is a range of blocks of the image, including the last one.
type blockRange struct{ first, last int64 }

// Write writes the map of a raw image. used are the extents whose content matters, sorted and not
// adjacent. The offset of image is undefined afterwards.
func Write(ctx context.Context, w io.Writer, image *os.File, used []diskimage.Extent) error {
	raw, err := rawimage.Open(image)
	if err != nil {
		return err
	}
	size, err := image.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("find length of raw image: %w", err)
	}
	ranges, err := mapped(ctx, raw, used)
	if err != nil {
		return err
	}
	var list bytes.Buffer
	count := int64(0)
	for _, r := range ranges {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := sha256.New()
		section := io.NewSectionReader(image, r.first*blockSize, min((r.last+1)*blockSize, size)-r.first*blockSize)
		if _, err := io.Copy(h, section); err != nil {
			return fmt.Errorf("read raw image for its block map: %w", err)
		}
		numbers := fmt.Sprintf("%d-%d", r.first, r.last)
		if r.first == r.last {
			numbers = fmt.Sprint(r.first)
		}
		fmt.Fprintf(&list, "        <Range chksum=\"%x\"> %s </Range>\n", h.Sum(nil), numbers)
		count += r.last - r.first + 1
	}
	// The checksum of the map is computed with zeros in place of the checksum.
	noSum := strings.Repeat("0", hex.EncodedLen(sha256.Size))
	text := fmt.Sprintf(template, size, blockSize, rawimage.Blocks(size, blockSize), count, noSum, &list)
	sum := sha256.Sum256([]byte(text))
	_, err = io.WriteString(w, strings.Replace(text, noSum, hex.EncodeToString(sum[:]), 1))
	return err
}

// template is the text around the ranges.
const template = `<?xml version="1.0" ?>
<!-- Blocks of a raw disk image for bmaptool(1): bmaptool copy IMAGE /dev/DISK -->
<bmap version="2.0">
    <!-- bytes -->
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <!-- of this file, with zeros here -->
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`

// mapped returns the blocks in the map: those that are used, and those that are not zero.
func mapped(ctx context.Context, raw *rawimage.Image, used []diskimage.Extent) ([]blockRange, error) {
	var ranges []blockRange
	add := func(offset, length int64) {
		r := blockRange{offset / blockSize, (offset + length - 1) / blockSize}
		if last := len(ranges) - 1; last >= 0 && ranges[last].last+1 >= r.first {
			ranges[last].last = max(ranges[last].last, r.last)
			return
		}
		ranges = append(ranges, r)
	}
	addUsed := func(before int64) {
		for len(used) > 0 && used[0].Offset < before {
			add(used[0].Offset, used[0].Length)
			used = used[1:]
		}
	}
	err := raw.Scan(ctx, rawimage.ScanOptions{ClusterSize: blockSize}, func(run rawimage.Run) error {
		addUsed(run.Offset)
		add(run.Offset, int64(len(run.Data)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find data in the raw image: %w", err)
	}
	addUsed(raw.Size())
	return ranges, nil
}
