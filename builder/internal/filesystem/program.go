// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"context"
	"fmt"
	"runtime"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Program makes a file system from a directory. It runs in the toolbox, which is of the release that is built, so that
// the kernel and the fsck of that release understand the result.
//
// These file systems contain no device nodes: a container has none, and Debian's kernels load the drivers from an
// initramfs, which mounts a devtmpfs.
type Program struct {
	// args returns the command line that writes the content of the directory root to the file image, which already
	// has its final length.
	args func(f diskimage.Filesystem, image, root string) []string
	// Differs says why two file systems of the same files can differ, although time and ID are given; empty if they
	// cannot.
	Differs string
	// Complete, if set, is the first release of Debian whose program keeps every attribute. Builds of older releases
	// use a toolbox of this release.
	Complete string
	// acls, if set, handles access control lists, which the program leaves out.
	acls func(ctx context.Context, v *Volume, work string, found []diskimage.Entry) error
}

// mkfsBtrfs returns the command line for btrfs.
func mkfsBtrfs(f diskimage.Filesystem, image, root string) []string {
	args := []string{"mkfs.btrfs", "--quiet", "--force", "--uuid", f.UUID.String(), "--rootdir", root}
	if f.Label != "" {
		args = append(args, "--label", f.Label)
	}
	return append(args, image)
}

// mkfsErofs returns the command line for erofs. Each kernel that reads erofs supports LZ4.
func mkfsErofs(f diskimage.Filesystem, image, root string) []string {
	return []string{"mkfs.erofs", "--quiet", "-zlz4hc", "-U", f.UUID.String(), image, root}
}

// mksquashfs returns the command line for squashfs, with zstd at level 9. It compresses trixie's /usr/bin, 30 MB, to
// 12.3 MB in 0.8 s of CPU time; the default, 15, to 11.5 MB in 5.7 s, and 3 to 13.2 MB in 0.2 s.
func mksquashfs(_ diskimage.Filesystem, image, root string) []string {
	return Mksquashfs(image, root, "zstd", "-Xcompression-level", "9")
}

// Mksquashfs returns the command line that writes the content of the directory root to a new file image, with one
// thread for each CPU that this program may use. The options follow the method of compression.
func Mksquashfs(image, root, compression string, options ...string) []string {
	args := []string{
		"mksquashfs", root, image, "-noappend", "-quiet", "-no-progress", "-processors",
		fmt.Sprint(runtime.GOMAXPROCS(0)), "-comp", compression,
	}
	return append(args, options...)
}

// mkfsXFS returns the command line for XFS. It needs xfsprogs 6.17: earlier versions read a list of files that has no
// times, hard links and sticky bits.
func mkfsXFS(f diskimage.Filesystem, image, root string) []string {
	return []string{
		"mkfs.xfs", "-q", "-f", "-c", "options=/usr/share/xfsprogs/mkfs/lts_" + f.Features + ".conf", "-m",
		"uuid=" + f.UUID.String(),
		"-s", fmt.Sprintf("size=%d", max(f.SectorSize, diskimage.SectorSize)), "-p", root, image,
	}
}

// xfsKernel returns the long-term kernel whose XFS features fit a release: those that mkfs.xfs used when the kernel of
// the release was new. GRUB of the release reads them, too.
func xfsKernel(codename string) string {
	if r, ok := debian.LookupRelease(codename); ok {
		switch {
		case r.Since("trixie", "plucky"):
		case r.Since("bookworm", "noble"):
			return "6.1"
		case r.Since("bullseye", "jammy"):
			return "5.10"
		default:
			return "4.19"
		}
	}
	return "6.12"
}
