// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"
)

// groups returns all comparisons, except those with programs that this machine lacks.
func groups(self string, o options) []group {
	image := filepath.Join(o.work, "image")
	raw := filepath.Join(o.work, "image.raw")
	size := o.size.String()
	write := func(args ...string) []string { return append([]string{self, writerCommand}, args...) }
	fsck := []string{"e2fsck", "-fn", image}

	ext4 := group{title: "ext4", outputs: []string{image}, contenders: []contender{
		{name: "dd", steps: [][]string{{"dd", "if=" + o.tar, "of=" + image, "bs=1M"}}},
		{name: "dd, fsync", steps: [][]string{{"dd", "if=" + o.tar, "of=" + image, "bs=1M", "conv=fsync"}}},
		{name: "dd, past the cache, fsync",
			steps: [][]string{{"dd", "if=" + o.tar, "of=" + image, "bs=4M", "oflag=direct",
				"conv=fsync"}}},
		{name: "ours, directory", steps: [][]string{write("-dir", o.dir, "-size", size, image)}, check: fsck},
		{name: "ours, directory, fsync", steps: [][]string{write("-sync", "-dir", o.dir, "-size", size, image)},
			check: fsck},
		{name: "ours, tar", steps: [][]string{write("-tar", o.tar, "-size", size, image)}, check: fsck},
		{name: "ours, tar, fsync", steps: [][]string{write("-sync", "-tar", o.tar, "-size", size, image)}, check: fsck},
		{name: "mke2fs -d directory",
			steps: [][]string{{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", o.dir, image,
				mebibytes(o.size) + "M"}}},
	}, ratios: []ratio{
		{"ours, directory", "dd", "at most 2"},
		{"ours, tar", "dd", "at most 2"},
		{"ours, directory, fsync", "dd, fsync", "at most 2"},
		{"ours, tar, fsync", "dd, fsync", "at most 2"},
		{"ours, directory, fsync", "dd, past the cache, fsync", "1: the disk is the limit"},
		{"mke2fs -d directory", "ours, directory", "at least 5, but only mke2fs waits for the disk"},
		{"mke2fs -d directory", "ours, directory, fsync", "at least 5"},
		{"mke2fs -d directory", "ours, tar, fsync", "at least 5"},
	}}

	all := []group{ext4}
	if _, err := exec.LookPath("qemu-img"); err == nil {
		convert := []string{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image}
		check := []string{"qemu-img", "check", "-f", "qcow2", image}
		all = append(all, group{title: "qcow2 of ext4", outputs: []string{image, raw}, contenders: []contender{
			{name: "ours", steps: [][]string{write("-dir", o.dir, "-size", size, "-format", "qcow2", image)},
				check: check},
			{name: "ours, fsync",
				steps: [][]string{write("-sync", "-dir", o.dir, "-size", size, "-format", "qcow2", image)}},
			{name: "ours, raw; qemu-img convert", steps: [][]string{write("-dir", o.dir, "-size", size, raw), convert}},
			{name: "ours, raw; qemu-img convert, fsync", steps: [][]string{
				write("-dir", o.dir, "-size", size, raw), convert, {"sync", image},
			}},
		}, ratios: []ratio{
			{"ours, raw; qemu-img convert", "ours", "more than 1"},
			{"ours, raw; qemu-img convert, fsync", "ours, fsync", "more than 1"},
		}})
	}
	if o.files > 0 {
		all = append(all, millions(o, write, image))
	}
	return all
}
