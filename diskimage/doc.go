// Package diskimage writes disk images: a partition table, file systems filled from a tree of files, and boot code, into
// an ordinary file. Nothing is mounted, no loop device is used, no program is run, and no privileges are needed.
//
// It is used in three steps, and only the last one writes:
//
//  1. NewLayout turns a Request (sizes and roles of partitions) into a Layout (where everything is).
//  2. A Formatter per partition plans a file system from a Tree: packages diskimage/ext (ext2, ext3, ext4),
//     diskimage/fat and diskimage/swap. A plan says at once whether everything fits (NoSpaceError), and afterwards
//     where on the disk each file will be (Volume.Extents), which is what boot loaders ask for.
//  3. Image.Write writes table, file systems, blobs and patches. WriteFile gives it a file that appears under its name
//     only when it is complete. Package diskimage/format writes the same disk as qcow2, vmdk, vhd, vhdx or vdi, or as
//     several of them at once, and diskimage/bmap a block map for bmaptool.
//
// The examples have whole programs: Image.Write (a FAT and a swap area from memory), TarToQcow2 (an archive becomes a
// virtual machine's disk that is as large as it needs to be) and Layout.CheckFree (room for a board's firmware). Boot
// loaders are in diskimage/grub and diskimage/syslinux.
//
// The packages do not need the rest of vmdebootstrap, nor build tags or cgo. Patches, blobs and boot code are
// bytes that the caller brings.
//
// A Tree is where files come from. NewDirTree reads a directory, NewTarTree an archive and NewLayerTree the layers of a
// container image without unpacking them, and EmptyTree, FileEntry and the like make one in memory. Overlay, Filter, Subtree, Clamp and Dense derive one tree from
// another while it is read. Owners, modes, times to the nanosecond, extended attributes, hard links, devices and holes
// are kept.
//
// The same input gives the same bytes: trees are sorted, every ID and time is an argument (see DeriveID), and nothing
// asks for the clock, the environment or random numbers.
//
// Trees may be hostile. No symbolic link in one is ever followed on the machine that reads it, and no name leads out of
// it.
//
// Not supported: logical partitions, LVM, RAID and encryption; sectors other than of 512 or 4096 bytes; changing an image
// that exists. The msdos and gpt tables are encoded by go-diskfs; its file system writers are not used.
package diskimage
