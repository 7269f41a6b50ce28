// SPDX-License-Identifier: Apache-2.0

package vhdx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/rawimage"
)

const (
	// flagHasParent is the flag of a differencing disk.
	flagHasParent = 1 << 1
	// maxItems is the number of entries that fit into a metadata table; a region table has one more.
	maxItems = 2047
	// chunkSectors is the number of sectors for which the block allocation table has an entry of its
	// own, after those of their blocks.
	chunkSectors = 1 << 23
	stateMask    = 7
	offsetMask   = ^uint64(regionUnit - 1)
	statePart    = 7 // of a block of a differencing disk
)

// Open returns the disk in an image. Not supported: differencing disks, and images whose log must be
// replayed.
func Open(r io.ReaderAt) (*rawimage.Disk, error) {
	if err := checkLog(r); err != nil {
		return nil, err
	}
	regions, err := readRegions(r)
	if err != nil {
		return nil, err
	}
	bat, metadata := regions[rawimage.GUID(batRegion)], regions[rawimage.GUID(metadataRegion)]
	if bat.Offset == 0 || metadata.Offset == 0 {
		return nil, errors.New("the region table is damaged")
	}
	var items metadataItems
	if err := readItems(r, int64(metadata.Offset), &items); err != nil {
		return nil, err
	}
	block := int64(items.BlockSize)
	switch {
	case items.Flags&flagHasParent != 0:
		return nil, errors.New("the image needs another one, which is not supported")
	case block < regionUnit || block&(block-1) != 0 || items.DiskSize > 1<<62 ||
		items.LogicalSectorSize != rawimage.SectorSize && items.LogicalSectorSize != physicalSector:
		return nil, errors.New("the metadata are damaged")
	}
	blocksPerChunk := chunkSectors * int64(items.LogicalSectorSize) / block
	find := func(cluster int64) (rawimage.Place, error) {
		index := cluster + cluster/blocksPerChunk
		if index >= int64(bat.Length)/entrySize {
			return rawimage.NoPlace, errors.New("outside of the block allocation table")
		}
		var entry uint64
		if err := rawimage.ReadStruct(r, binary.LittleEndian, &entry, int64(bat.Offset)+index*entrySize); err != nil {
			return rawimage.NoPlace, err
		}
		switch entry & stateMask {
		case stateFullyPresent:
			return rawimage.Place{Offset: int64(entry & offsetMask)}, nil
		case statePart:
			return rawimage.NoPlace, errors.New("the block needs another image, which is not supported")
		}
		return rawimage.NoPlace, nil
	}
	return rawimage.NewDisk(r, rawimage.DiskLayout{Size: int64(items.DiskSize), ClusterSize: block, Find: find})
}

// checkLog returns an error unless the valid header, which has the higher number, says that the log is empty.
func checkLog(r io.ReaderAt) error {
	var valid header
	found := false
	for _, offset := range []int64{headerOffset, header2Offset} {
		var h header
		if err := rawimage.ReadStruct(r, binary.LittleEndian, &h, offset); err != nil {
			return fmt.Errorf("header: %w", err)
		}
		sum := h.Checksum
		h.Checksum = 0
		if string(h.Signature[:]) == "head" && checksum(encode(h)) == sum &&
			(!found || h.SequenceNumber > valid.SequenceNumber) {
			valid, found = h, true
		}
	}
	switch {
	case !found:
		return errors.New("not a vhdx image, or both headers are damaged")
	case valid.LogID != [16]byte{}:
		return errors.New("the image was not closed properly: start and stop a machine with it, then read it again")
	}
	return nil
}

// readRegions returns the regions by their GUIDs.
func readRegions(r io.ReaderAt) (map[[16]byte]region, error) {
	for _, offset := range []int64{regionOffset, region2Offset} {
		raw := make([]byte, regionTableSize)
		if err := rawimage.ReadFull(r, raw, offset); err != nil {
			return nil, fmt.Errorf("region table: %w", err)
		}
		const sumOffset, countOffset, entries = 4, 8, 16
		sum := binary.LittleEndian.Uint32(raw[sumOffset:])
		clear(raw[sumOffset : sumOffset+4])
		count := binary.LittleEndian.Uint32(raw[countOffset:])
		if string(raw[:sumOffset]) != "regi" || checksum(raw) != sum || count > maxItems {
			continue
		}
		list := make([]region, count)
		if err := binary.Read(bytes.NewReader(raw[entries:]), binary.LittleEndian, list); err != nil {
			return nil, err
		}
		regions := map[[16]byte]region{}
		for _, x := range list {
			regions[x.ID] = x
		}
		return regions, nil
	}
	return nil, errors.New("both region tables are damaged")
}

// readItems reads the metadata items that a reader needs.
func readItems(r io.ReaderAt, offset int64, items *metadataItems) error {
	var table metadataTable
	if err := rawimage.ReadStruct(r, binary.LittleEndian, &table, offset); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if string(table.Signature[:]) != "metadata" || table.Count > maxItems {
		return errors.New("the metadata table is damaged")
	}
	list := make([]metadataRecord, table.Count)
	at := offset + int64(binary.Size(table)) - int64(binary.Size(table.Entries))
	if err := rawimage.ReadStruct(r, binary.LittleEndian, list, at); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	for _, x := range list {
		var err error
		switch x.ID {
		case rawimage.GUID(fileParameters):
			var parameters [2]uint32
			err = rawimage.ReadStruct(r, binary.LittleEndian, &parameters, offset+int64(x.Offset))
			items.BlockSize, items.Flags = parameters[0], parameters[1]
		case rawimage.GUID(virtualDiskSize):
			err = rawimage.ReadStruct(r, binary.LittleEndian, &items.DiskSize, offset+int64(x.Offset))
		case rawimage.GUID(logicalSectorSize):
			err = rawimage.ReadStruct(r, binary.LittleEndian, &items.LogicalSectorSize, offset+int64(x.Offset))
		}
		if err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	return nil
}
