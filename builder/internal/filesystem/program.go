// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"context"
	"fmt"
	"runtime"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Program makes a file system of a directory. It runs in the toolbox, so that it is of the release that is built and
// makes what its kernel and its fsck understand.
//
// Device nodes are not in these file systems: a container has none, and Debian's kernels load the drivers from an
// initramfs, which mounts a devtmpfs.
type Program struct {
	// args is the command line that writes to the file image, which has its length, what is in the directory root.
	args func(f diskimage.Filesystem, image, root string) []string
	// Complete, if set, is the first release of Debian whose program keeps every attribute. The toolbox of an older one
	// is made of this one.
	Complete string
	// acls, if set, deals with access control lists, which the program leaves out.
	acls func(ctx context.Context, v *Volume, work string, found []diskimage.Entry) error
}

func mkfsBtrfs(f diskimage.Filesystem, image, root string) []string {
	args := []string{"mkfs.btrfs", "--quiet", "--force", "--uuid", f.UUID.String(), "--rootdir", root}
	if f.Label != "" {
		args = append(args, "--label", f.Label)
	}
	return append(args, image)
}

// mkfsErofs compresses with what each kernel that reads it has.
func mkfsErofs(f diskimage.Filesystem, image, root string) []string {
	return []string{"mkfs.erofs", "--quiet", "-zlz4hc", "-U", f.UUID.String(), image, root}
}

// mksquashfs compresses by zstd at level 9: of trixie's /usr/bin, 30 MB, it makes 12.3 MB in 0.8 s of
// processor time; 15, the default, 11.5 MB in 5.7 s, and 3 makes 13.2 MB in 0.2 s.
func mksquashfs(_ diskimage.Filesystem, image, root string) []string {
	return []string{
		"mksquashfs", root, image, "-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "9",
		"-processors", fmt.Sprint(runtime.GOMAXPROCS(0)),
	}
}

// mkfsXFS needs xfsprogs 6.17: before, mkfs.xfs could only follow a list of files that has no times, links
// and sticky bits.
func mkfsXFS(f diskimage.Filesystem, image, root string) []string {
	return []string{
		"mkfs.xfs", "-q", "-f", "-c", "options=/usr/share/xfsprogs/mkfs/lts_" + f.Features + ".conf", "-m",
		"uuid=" + f.UUID.String(),
		"-s", fmt.Sprintf("size=%d", max(f.SectorSize, diskimage.SectorSize)), "-p", root, image,
	}
}

// xfsKernel is the long-term kernel whose features mkfs.xfs used when the kernel of a release was new. GRUB
// of the release reads them, too.
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
