// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
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

// workload is what a build has to do, as far as it takes room.
type workload struct {
	// stateDir is the state directory, cwd what relative names of outputs are those of.
	stateDir, cwd string
	// install are the packages to be installed, all those of the finished system.
	install, all []*archive.Package
	// toolbox are the packages of the toolbox that is to be made, none if it is there.
	toolbox []*archive.Package
	// download is the size of the packages that the cache does not have.
	download diskimage.Size
	// copies is how many snapshots are made that are copies of the whole root file system.
	copies int
}

// spaceNeeds estimates what the build writes: to the state directory what it downloads, repacks and installs, and to
// the directories of outputs a system of all packages.
func (p Plan) spaceNeeds(w workload) []spaceNeed {
	var archives diskimage.Size // of the cache's files, for debootstrap and apt
	for _, pkg := range w.install {
		archives += diskimage.Size(pkg.Size)
	}
	archives += repackedSize(archives) + repackedSize(w.download)
	content := installedSize(w.all)
	unpacked := installedSize(w.install) + installedSize(w.toolbox) + diskimage.Size(w.copies)*content
	const copiesOfPackage = 2
	needs := []spaceNeed{{w.stateDir, w.download + archives + unpacked,
		uint64(unpacked/sizeOfInode) + copiesOfPackage*uint64(len(w.install))}}
	output := func(name string, size diskimage.Size, inodes uint64) {
		if name == StandardOutput || strings.HasPrefix(name, "/dev/") {
			return // a pipe, or the like
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(w.cwd, name)
		}
		needs = append(needs, spaceNeed{filepath.Dir(name), size, inodes})
	}
	if p.Disk != nil {
		for _, f := range p.Disk.Files {
			size := content / compressed
			if f.Format == format.Raw && !p.Disk.fixedSize() {
				size = min(content, p.Disk.Layout.Size)
			}
			output(f.Name, size, 1)
		}
		if p.Disk.verifies() && !p.Disk.fixedSize() {
			output(p.Disk.Image, content, 1) // the root file system in a file of its own
		}
	}
	switch {
	case filepath.Ext(p.Tarball) == ".tar":
		output(p.Tarball, content, 1)
	case p.Tarball != "":
		output(p.Tarball, content/compressed, 1)
	}
	if p.Squash != "" {
		output(p.Squash, content/compressed, 1)
	}
	if p.ISO != nil {
		output(p.ISO.File, content/compressed, 1)
	}
	for _, e := range p.Exports {
		switch {
		case e.Path == "": // a registry, or the store of podman
		case e.Transport == transport.Dir:
			output(e.Path, content, uint64(content/sizeOfInode))
		case e.compresses() || filepath.Ext(e.Path) != ".tar":
			output(e.Path, content/compressed, 1)
		default:
			output(e.Path, content, 1)
		}
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
