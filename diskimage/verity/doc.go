// SPDX-License-Identifier: Apache-2.0

// Package verity makes the hash trees of dm-verity, with which the kernel verifies each block of a
// read-only file system when it is read. Whoever knows the root hash knows the whole content: a
// bootable system has it on the command line of a signed kernel image.
//
// The tree has the bytes that "veritysetup format" writes: version 1 of the superblock and of the
// hash type, SHA-256, blocks of 4 KiB for data and hashes. UUID and salt are arguments, so that the
// same data has the same root hash each time. New reads the data once, in parallel; the tree, 1/127
// of the data, stays in memory until it is written. A processor with instructions for SHA hashes
// 1 GB in a second of its time (BenchmarkNew).
//
// Not supported: other algorithms and block sizes, the tree behind the data in one partition,
// forward error correction, signatures of the root hash, and reading a tree, which veritysetup and
// the kernel do.
//
// References: Documentation/admin-guide/device-mapper/verity.rst of Linux, and
// https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity for the superblock.
package verity
