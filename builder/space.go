// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// FreeSpace is what a file system has left for this user.
type FreeSpace struct {
	// Device tells file systems apart, as in stat(2).
	Device uint64
	Bytes  diskimage.Size
	// Inodes is math.MaxUint64 where the file system has no limit.
	Inodes uint64
}

// SpaceError says that a file system has too little room for a build, by an estimate made before the work.
type SpaceError struct {
	// Dirs are the directories on the file system that the build writes to.
	Dirs []string
	// Need and Free are bytes, or inodes if Inodes is set.
	Need, Free uint64
	Inodes     bool
}

func (e *SpaceError) Error() string {
	dirs := strings.Join(e.Dirs, " and ")
	if e.Inodes {
		return fmt.Sprintf("the file system of %s has %d free inodes, and the build needs about %d there", dirs, e.Free,
			e.Need)
	}
	return fmt.Sprintf("the file system of %s has %d MB free, and the build needs about %d MB there", dirs,
		e.Free/uint64(diskimage.MB), e.Need/uint64(diskimage.MB))
}

// spaceNeed is an estimate of what a build writes to a directory.
type spaceNeed struct {
	dir    string
	bytes  diskimage.Size
	inodes uint64
}

const (
	// sizeOfInode is more than a file of a Debian system takes on average: minbase of trixie has 5,600 of 126 MB.
	sizeOfInode = 32 * diskimage.KiB
	// compressed is how many times smaller a Debian system becomes, at most.
	compressed = 5
)

// repackedSize estimates how large packages of that size are in the form of archive.Cache.Repack.
func repackedSize(size diskimage.Size) diskimage.Size { return size + size/4 }

// installedSize is what packages say that they take.
func installedSize(packages []*archive.Package) diskimage.Size {
	var size diskimage.Size
	for _, p := range packages {
		size += diskimage.Size(p.InstalledSize) * diskimage.KiB
	}
	return size
}

// spaceNeeds estimates what the build writes: to the state directory what it downloads, repacks and installs, and to
// the directories of outputs a system of all packages. Relative names are those of the directory cwd.
func (p Plan) spaceNeeds(stateDir, cwd string, download diskimage.Size, install, all []*archive.Package) []spaceNeed {
	var copies diskimage.Size // of the cache's files, for debootstrap and apt
	for _, pkg := range install {
		copies += diskimage.Size(pkg.Size)
	}
	copies += repackedSize(copies) + repackedSize(download)
	installed, content := installedSize(install), installedSize(all)
	const copiesOfPackage = 2
	needs := []spaceNeed{{stateDir, download + copies + installed,
		uint64(installed/sizeOfInode) + copiesOfPackage*uint64(len(install))}}
	output := func(name string, size diskimage.Size) {
		if name == StandardOutput || strings.HasPrefix(name, "/dev/") {
			return // a pipe, or the like
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(cwd, name)
		}
		needs = append(needs, spaceNeed{filepath.Dir(name), size, 1})
	}
	if p.Disk != nil {
		for _, f := range p.Disk.Files {
			size := content / compressed
			if f.Format == format.Raw && !p.Disk.readOnly() {
				size = min(content, p.Disk.Layout.Size)
			}
			output(f.Name, size)
		}
	}
	switch {
	case filepath.Ext(p.Tarball) == ".tar":
		output(p.Tarball, content)
	case p.Tarball != "":
		output(p.Tarball, content/compressed)
	}
	if p.Squash != "" {
		output(p.Squash, content/compressed)
	}
	return needs
}

// checkSpace returns a *SpaceError for each file system that has too little room. What a package says of its own size
// can be too much, so a fifth of each estimate is given the benefit of the doubt.
func checkSpace(needs []spaceNeed, free func(dir string) (FreeSpace, error)) []error {
	type total struct {
		FreeSpace
		spaceNeed
		dirs []string
	}
	var all []total
	for _, n := range needs {
		space, err := free(n.dir)
		if err != nil {
			return []error{fmt.Errorf("look for free space in %s: %w", n.dir, err)}
		}
		i := slices.IndexFunc(all, func(t total) bool { return t.Device == space.Device })
		if i < 0 {
			i = len(all)
			all = append(all, total{FreeSpace: space})
		}
		all[i].bytes += n.bytes - n.bytes/5
		all[i].inodes += n.inodes - n.inodes/5
		if !slices.Contains(all[i].dirs, n.dir) {
			all[i].dirs = append(all[i].dirs, n.dir)
		}
	}
	var problems []error
	for _, t := range all {
		if t.bytes > t.Bytes {
			problems = append(problems, &SpaceError{Dirs: t.dirs, Need: uint64(t.bytes), Free: uint64(t.Bytes)})
		}
		if t.inodes > t.Inodes {
			problems = append(problems, &SpaceError{Dirs: t.dirs, Need: t.inodes, Free: t.Inodes, Inodes: true})
		}
	}
	return problems
}
