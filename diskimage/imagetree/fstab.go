// SPDX-License-Identifier: Apache-2.0

package imagetree

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// fstab is the name of the file that says what is mounted where.
const fstab = "etc/fstab"

// mountPoint is a line of fstab(5) for a partition that is not the root.
type mountPoint struct {
	dir string // relative to the root, without a slash at either end
	// by and value identify the partition, in the words of fstab: "UUID" and its value; by is "device" for the name of
	// one that is on the first disk.
	by, value string
	required  bool // the type is supported, and the system does not boot without it
}

// partitionOfDisk is the name of a partition of the first disk; where it is one of another, as on a machine with two,
// nothing of this disk fits, or the system would not have it at that place either.
var partitionOfDisk = regexp.MustCompile(`^/dev/(?:[shv]da|xvda|nvme0n1p|mmcblk0p)([0-9]+)$`)

// byLink are the directories of udev with links to partitions.
var byLink = map[string]string{"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID",
	"by-partlabel": "PARTLABEL"}

// identify returns how a line of fstab identifies its partition; ok is false if it names none that can be on this disk.
func identify(device string) (by, value string, ok bool) {
	if m := partitionOfDisk.FindStringSubmatch(device); m != nil {
		return "device", m[1], true
	}
	if rest, links := strings.CutPrefix(device, "/dev/disk/"); links {
		dir, name, _ := strings.Cut(rest, "/")
		return byLink[dir], name, byLink[dir] != ""
	}
	by, value, ok = strings.Cut(device, "=")
	for _, known := range byLink {
		if ok && by == known {
			return by, strings.Trim(value, `"`), true
		}
	}
	return "", "", false
}

// mountPoints returns the lines of an fstab(5) that mount a partition, except for the root.
func mountPoints(text []byte) []mountPoint {
	var points []mountPoint
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		by, value, ok := identify(fields[0])
		dir := strings.Trim(path.Clean(fields[1]), "/")
		if !ok || !strings.HasPrefix(fields[1], "/") || dir == "" {
			continue
		}
		p := mountPoint{dir: dir, by: by, value: value}
		if len(fields) > 3 {
			options := strings.Split(fields[3], ",")
			p.required = by != "device" && slices.Contains(readableTypes, fields[2]) &&
				!slices.Contains(options, "nofail") && !slices.Contains(options, "noauto")
		}
		points = append(points, p)
	}
	return points
}

// identifies reports whether a line of fstab is about a file system.
func (p mountPoint) identifies(d *Disk, f FileSystem) bool {
	for _, partition := range d.Partitions {
		if partition.Number != f.Partition {
			continue
		}
		switch p.by {
		case "PARTUUID":
			return strings.EqualFold(p.value, partition.UUID)
		case "PARTLABEL":
			return p.value == partition.Label
		case "device":
			return p.value == fmt.Sprint(partition.Number)
		}
	}
	return p.by == "UUID" && strings.EqualFold(p.value, f.UUID) || p.by == "LABEL" && p.value == f.Label
}

// mount returns the tree of a root file system and of those that its fstab mounts.
func (d *Disk) mount(root FileSystem, text []byte) (*Tree, error) {
	t := &Tree{root: root.Tree}
	for i := range d.FileSystems {
		f := &d.FileSystems[i]
		f.MountPoint = ""
		if f.Start == root.Start && f.Partition == root.Partition {
			f.MountPoint = "/"
		}
	}
	for _, p := range mountPoints(text) {
		i := slices.IndexFunc(d.FileSystems, func(f FileSystem) bool {
			return f.Tree != nil && f.MountPoint != "/" && p.identifies(d, f)
		})
		if i >= 0 {
			d.FileSystems[i].MountPoint = "/" + p.dir
			t.mounts = append(t.mounts, mount{p.dir, d.FileSystems[i].Tree})
		} else if p.required {
			return nil, errors.Join(d.unread(),
				fmt.Errorf("/etc/fstab mounts %s %s at /%s, and no partition has it", p.by, p.value, p.dir))
		}
	}
	slices.SortFunc(t.mounts, func(a, b mount) int { return strings.Compare(b.dir, a.dir) })
	return t, nil
}
