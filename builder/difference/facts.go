// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
)

// facts compares what inspect tells of disks and systems. Identifiers, free room and the format of the image are left
// out: the first differ between any two builds, the last says nothing about the disk. Of systems that could not be
// read, only the disks are compared.
func facts(a, b inspect.Report) []Fact {
	found := []Fact{}
	add := func(name, a, b string) {
		if a != b {
			found = append(found, Fact{name, a, b})
		}
	}
	if a.Disk != nil && b.Disk != nil {
		add("disk size", fmt.Sprint(a.Disk.Size), fmt.Sprint(b.Disk.Size))
		add("sector size", fmt.Sprint(a.Disk.SectorSize), fmt.Sprint(b.Disk.SectorSize))
		add("partition table", a.Disk.Table, b.Disk.Table)
		add("file system of the disk", filesystem(a.Disk.Filesystem), filesystem(b.Disk.Filesystem))
		left, right := partitions(a.Disk), partitions(b.Disk)
		numbers := maps.Clone(left)
		maps.Copy(numbers, right)
		for _, number := range slices.Sorted(maps.Keys(numbers)) {
			add(fmt.Sprintf("partition %d", number), left[number], right[number])
		}
	}
	s, t := a.System, b.System
	if s == nil || t == nil {
		return found
	}
	if a.Disk != nil && b.Disk != nil {
		add("boot loaders", loaders(s, "bios"), loaders(t, "bios"))
	}
	add("programs for UEFI", loaders(s, "uefi"), loaders(t, "uefi"))
	add("release", s.Release.Name, t.Release.Name)
	add("architecture", s.Architecture, t.Architecture)
	add("host name", s.Hostname, t.Hostname)
	add("kernels", kernels(s), kernels(t))
	add("users that can log in", users(s), users(t))
	add("enabled services", strings.Join(s.Services, " "), strings.Join(t.Services, " "))
	return found
}

// partitions describes partitions by their numbers, which begin with 1.
func partitions(d *inspect.Disk) map[int]string {
	found := map[int]string{}
	for _, p := range d.Partitions {
		found[p.Number] = fmt.Sprintf("%s, %d bytes at %d, %s", p.Type, p.Size, p.Start, filesystem(p.Filesystem))
		if p.Bootable {
			found[p.Number] += ", bootable"
		}
	}
	return found
}

func filesystem(f *inspect.Filesystem) string {
	switch {
	case f == nil:
		return "no file system"
	case f.MountPoint != "":
		return f.Type + " mounted at " + f.MountPoint
	}
	return f.Type
}

func loaders(s *inspect.System, firmware string) string {
	var names []string
	for _, l := range s.Loaders {
		if l.Firmware == firmware {
			names = append(names, strings.TrimSpace(l.Name+" "+l.File))
		}
	}
	return strings.Join(names, ", ")
}

func kernels(s *inspect.System) string {
	var versions []string
	for _, k := range s.Kernels {
		versions = append(versions, k.Version)
	}
	return strings.Join(versions, ", ")
}

func users(s *inspect.System) string {
	var names []string
	for _, u := range s.Users {
		names = append(names, fmt.Sprintf("%s (password %s, %d ssh keys)", u.Name, u.Password, u.Keys))
	}
	return strings.Join(names, ", ")
}
