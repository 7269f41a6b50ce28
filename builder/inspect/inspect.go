// SPDX-License-Identifier: Apache-2.0

// Package inspect describes a system that is there already: its disk, release, kernels, boot loaders, users, services
// and packages. It reads a tree of files and, if there is one, the disk that they are on; nothing is run.
//
// Not supported: packages of other systems than dpkg's; services that a generator or a preset enables at the first
// boot; what PAM and sshd_config say about logins.
package inspect

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/dpkgdb"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// Schema is the version of the JSON of a Report. It changes when a reader of the former one would misunderstand a
// report; new fields leave it alone.
const Schema = 1

// Report is the description of one image. Its JSON is documented in contrib/doc/existing.md; sizes are bytes.
type Report struct {
	Schema int    `json:"schema"`
	Source string `json:"source"` // as the caller named it
	// Disk is nil for a tarball, a container image and a directory.
	Disk *Disk `json:"disk,omitempty"`
	// System is nil if the disk has none that can be read; Error says why.
	System *System `json:"system,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// System is what the files say.
type System struct {
	Release      Release   `json:"release"`
	Architecture string    `json:"architecture,omitempty"` // Debian's name
	Hostname     string    `json:"hostname,omitempty"`
	Kernels      []Kernel  `json:"kernels"` // the newest first
	Loaders      []Loader  `json:"boot_loaders"`
	Users        []User    `json:"users"`    // who can log in
	Services     []string  `json:"services"` // the enabled units
	Packages     []Package `json:"packages"` // the largest first
	Files        int       `json:"files"`    // names other than directories
}

// Release is what os-release(5) says.
type Release struct {
	ID       string `json:"id,omitempty"`       // "debian"
	Name     string `json:"name,omitempty"`     // "Debian GNU/Linux 13 (trixie)"
	Version  string `json:"version,omitempty"`  // "13"
	Codename string `json:"codename,omitempty"` // "trixie"
}

// Kernel is a kernel in /boot.
type Kernel struct {
	Version   string `json:"version"`
	Initramfs bool   `json:"initramfs"`
}

// String returns the version, and what is missing.
func (k Kernel) String() string {
	if !k.Initramfs {
		return k.Version + " (no initramfs)"
	}
	return k.Version
}

// Package is an installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Section      string `json:"section,omitempty"` // "libs", "contrib/net"
	Size         uint64 `json:"size"`              // as the package declares it
}

// New describes a system; disk is nil if it is not on one. format is that of the image of the disk.
func New(source string, index diskimage.Index, disk *imagetree.Disk, format string) (Report, error) {
	r := Report{Schema: Schema, Source: source, Disk: newDisk(disk, format)}
	var err error
	if r.System, err = newSystem(index); err != nil {
		return r, err
	}
	r.System.Loaders, err = loaders(index, disk)
	return r, err
}

// NewUnreadable describes a disk without a system that can be read, for the reason of err.
func NewUnreadable(source string, disk *imagetree.Disk, format string, err error) Report {
	return Report{Schema: Schema, Source: source, Disk: newDisk(disk, format), Error: err.Error()}
}

func newSystem(index diskimage.Index) (*System, error) {
	s := &System{Services: services(index), Kernels: kernels(index)}
	for _, e := range index {
		if !e.IsDir() {
			s.Files++
		}
	}
	if fields, ok := debian.ReadOSRelease(index.ReadFile); ok {
		s.Release = Release{ID: fields["ID"], Name: fields["PRETTY_NAME"], Version: fields["VERSION_ID"],
			Codename: fields["VERSION_CODENAME"]}
	}
	if text, err := index.ReadFile("etc/hostname"); err == nil {
		s.Hostname = strings.TrimSpace(string(text))
	}
	var err error
	if s.Users, err = users(index); err != nil {
		return nil, err
	}
	database, err := dpkgdb.Read(index)
	if err != nil {
		return nil, err
	}
	s.Packages = []Package{}
	for _, p := range database.Packages {
		if p.Name == "dpkg" {
			s.Architecture = p.Architecture
		}
		s.Packages = append(s.Packages, Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture,
			Section: p.Get("Section"), Size: uint64(p.InstalledSize())})
	}
	slices.SortStableFunc(s.Packages, func(a, b Package) int { return cmp.Compare(b.Size, a.Size) })
	return s, nil
}

// InstalledSize returns the sum of the packages' sizes.
func (s *System) InstalledSize() uint64 {
	var sum uint64
	for _, p := range s.Packages {
		sum += p.Size
	}
	return sum
}

// kernels returns the kernels in /boot; some architectures have them uncompressed, as vmlinux.
func kernels(index diskimage.Index) []Kernel {
	found := []Kernel{}
	for name, e := range index {
		dir, base := path.Split(name)
		version, ok := strings.CutPrefix(base, "vmlinuz-")
		if !ok {
			version, ok = strings.CutPrefix(base, "vmlinux-")
		}
		if dir != "boot/" || !ok || e.Mode&unix.S_IFMT == unix.S_IFLNK || strings.Contains(version, ".dpkg-") {
			continue
		}
		_, err := index.File("boot/initrd.img-" + version)
		found = append(found, Kernel{Version: version, Initramfs: err == nil})
	}
	slices.SortFunc(found, func(a, b Kernel) int {
		return cmp.Or(archive.CompareVersions(b.Version, a.Version), strings.Compare(a.Version, b.Version))
	})
	return found
}

// unitDir is the directory in which the administrator, or systemctl(1) for one, enables units.
const unitDir = "etc/systemd/system/"

// services returns the units that are enabled: the names in the directories of dependencies of systemd
// (systemd.unit(5)), or the scripts that sysvinit starts in runlevel 2 if there is no systemd.
func services(index diskimage.Index) []string {
	systemd := false
	for _, name := range []string{"usr/lib/systemd/systemd", "lib/systemd/systemd"} {
		if _, err := index.File(name); err == nil {
			systemd = true
		}
	}
	names := []string{}
	for name := range index {
		dir, base := path.Split(name)
		switch {
		case systemd && strings.HasPrefix(dir, unitDir) &&
			(strings.HasSuffix(dir, ".wants/") || strings.HasSuffix(dir, ".requires/")):
			if index[name].Linkname != "/dev/null" && index[unitDir+base].Linkname != "/dev/null" {
				names = append(names, base)
			}
		case !systemd && dir == "etc/rc2.d/" && len(base) > 3 && base[0] == 'S':
			names = append(names, base[3:])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
