// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

// CompareManifests compares two manifests, which the caller names: packages, and the files of no package. Releases and
// disks are compared if both manifests have them. Changelogs are read from the .debs of a cache, unless that is nil.
func CompareManifests(ctx context.Context, nameA, nameB string, a, b manifest.Manifest, debs *archive.Cache) (Report,
	error) {
	r := Report{Schema: Schema, A: nameA, B: nameB, Facts: manifestFacts(a, b), ConfigFiles: []File{}, Files: []File{},
		Packages: comparePackages(listed(a), listed(b))}
	left, right := unowned(a), unowned(b)
	names := maps.Clone(left)
	maps.Copy(names, right)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, inA := left[name]
		y, inB := right[name]
		f := File{Name: name}
		if inA {
			f.A = described(x)
		}
		if inB {
			f.B = described(y)
		}
		if inA && inB {
			if f.Changes = manifestChanges(x, y); len(f.Changes) == 0 {
				continue
			}
		}
		r.Files = append(r.Files, f)
	}
	r.Same = r.same()
	return r, addFromDebs(ctx, r.Packages.upgrades(sources(a), sources(b)), debs)
}

// sources are those of the packages of a manifest.
func sources(m manifest.Manifest) map[packageKey]source {
	found := map[packageKey]source{}
	for _, p := range m.Packages {
		found[packageKey{p.Name, p.Architecture}] = source{p.SourceVersion, p.SHA256}
	}
	return found
}

func listed(m manifest.Manifest) (packages []inspect.Package) {
	for _, p := range m.Packages {
		packages = append(packages, inspect.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture})
	}
	return packages
}

func unowned(m manifest.Manifest) map[string]manifest.File {
	files := map[string]manifest.File{}
	for _, f := range m.Unowned {
		files[f.Name] = f
	}
	return files
}

func described(f manifest.File) *Metadata {
	return &Metadata{Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID, Size: f.Size, Target: f.Target}
}

// manifestChanges returns what differs of a file. A file of another type has nothing to compare.
func manifestChanges(x, y manifest.File) (kinds []string) {
	if x.Type != y.Type {
		return []string{"type"}
	}
	add := func(differs bool, kind string) {
		if differs {
			kinds = append(kinds, kind)
		}
	}
	add(x.Mode != y.Mode, "mode")
	add(x.UID != y.UID || x.GID != y.GID, "owner")
	add(x.Size != y.Size, "size")
	add(x.Size == y.Size && x.SHA256 != y.SHA256, "content")
	add(x.Target != y.Target, "target")
	return kinds
}

// manifestFacts compares releases and disks, without their identifiers.
func manifestFacts(a, b manifest.Manifest) []Fact {
	found := []Fact{}
	add := func(name, a, b string) {
		if a != b && a != "" && b != "" {
			found = append(found, Fact{name, a, b})
		}
	}
	add("release", a.System.Codename, b.System.Codename)
	add("architecture", a.System.Architecture, b.System.Architecture)
	if a.Disk == nil || b.Disk == nil {
		return found
	}
	add("disk size", fmt.Sprint(a.Disk.Size), fmt.Sprint(b.Disk.Size))
	add("sector size", fmt.Sprint(a.Disk.SectorSize), fmt.Sprint(b.Disk.SectorSize))
	add("partition table", a.Disk.Table, b.Disk.Table)
	add("boot loaders", a.Disk.Loader, b.Disk.Loader)
	for i := range max(len(a.Disk.Partitions), len(b.Disk.Partitions)) {
		add(fmt.Sprintf("partition %d", i+1), partitionText(a.Disk, i), partitionText(b.Disk, i))
	}
	return found
}

func partitionText(d *manifest.Disk, i int) string {
	if i >= len(d.Partitions) {
		return "none"
	}
	p := d.Partitions[i]
	kind := "no file system"
	if p.Filesystem != nil {
		kind = p.Filesystem.Type
	}
	return fmt.Sprintf("%s, %d bytes at %d, %s", p.Role, p.Size, p.Start, kind)
}
