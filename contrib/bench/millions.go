// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"iter"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// millions measures how much memory each file needs; it depends on the number of files, not on their bytes.
func millions(o options, write func(...string) []string, image string) group {
	name := fmt.Sprintf("ours, %d files of %d bytes", o.files, smallFileSize)
	size := fmt.Sprint(max(1, uint64(o.files)*inodeRoom>>30), "GiB")
	return group{title: "many small files", outputs: []string{image}, once: true, contenders: []contender{{
		name:    name,
		steps:   [][]string{write("-files", fmt.Sprint(o.files), "-state", "-size", size, image)},
		check:   []string{"e2fsck", "-fn", image},
		reports: true,
	}}}
}

const (
	smallFileSize = 100
	// inodeRoom is the size of a file system for which mke2fs makes one inode, plus a reserve.
	inodeRoom = 18 << 10
	// smallPerDirectory is the number of small files in one directory.
	smallPerDirectory = 1000
)

// smallFiles is a tree of that many small files, generated while it is read.
type smallFiles int

// Entries implements diskimage.Tree.
func (n smallFiles) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) {
		epoch := time.Unix(1700000000, 0)
		content := bytes.Repeat([]byte("x"), smallFileSize)
		if !yield(diskimage.DirEntry(".", 0o755, epoch), nil) {
			return
		}
		for i := range int(n) {
			dir := fmt.Sprintf("directory%06d", i/smallPerDirectory)
			if i%smallPerDirectory == 0 && !yield(diskimage.DirEntry(dir, 0o755, epoch), nil) {
				return
			}
			file := diskimage.FileEntry(fmt.Sprintf("%s/file%06d", dir, i), 0o644, content, epoch)
			if !yield(file, nil) {
				return
			}
		}
	}
}
