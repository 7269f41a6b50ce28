// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// configure writes what in the root file system depends on the disk. merged are the mount points that the source had in
// addition to those of diskMounts.
func (d Disk) configure(f *target.Memory, merged []string) error {
	if err := leaveContainer(f); err != nil {
		return err
	}
	if err := writeFstab(f, fstabEntries(&d), append(slices.Clone(merged), d.BootMount)); err != nil {
		return err
	}
	if d.Grow != step.GrowNothing {
		if err := d.growStep().Write(f); err != nil {
			return err
		}
	}
	return d.Loader.Configure(d.Disk, f)
}

// containerMarks are files by which systemd-detect-virt(1) and others find that they run in a container of
// docker or podman.
var containerMarks = []string{"/.dockerenv", "/.dockerinit", "/run/.containerenv"}

// containerMounts are files that engines make so that they can mount others over them. In an archive of "docker export"
// they are empty, and an empty file is none: without resolv.conf, hostname and hosts, systemd uses its own.
var containerMounts = []string{"/etc/hostname", "/etc/resolv.conf", "/etc/mtab"}

// emptyHosts is the content of /etc/hosts as package netbase makes it.
const emptyHosts = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n"

// leaveContainer removes what makes a root file system one of a container: the marks of the engine, the empty
// files that it mounts over, and what is no device in /dev. Nothing else is touched.
func leaveContainer(f *target.Memory) error {
	remove := append([]string{}, containerMarks...)
	for _, name := range containerMounts {
		if isEmpty(f, name) {
			remove = append(remove, name)
		}
	}
	entries, err := f.ReadDir("/dev")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			remove = append(remove, "/dev/"+e.Name())
		}
	}
	for _, name := range remove {
		if err := f.Remove(name); err != nil {
			return err
		}
	}
	if isEmpty(f, "/etc/hosts") {
		return f.WriteFile("/etc/hosts", []byte(emptyHosts), 0o644)
	}
	return nil
}

// isEmpty reports whether a name is that of a regular file without content.
func isEmpty(f *target.Memory, name string) bool {
	info, err := f.Lstat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// writeFstab writes /etc/fstab, and keeps the lines of an older one that are about other places than those of own.
func writeFstab(f *target.Memory, entries []step.FstabEntry, own []string) error {
	old, err := f.ReadFile("/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := (step.Fstab{Entries: entries}).Write(f); err != nil {
		return err
	}
	text, err := f.ReadFile("/etc/fstab")
	if err != nil {
		return err
	}
	kept := otherMounts(string(old), own)
	return f.WriteFile("/etc/fstab", append(text, kept...), 0o644)
}

// diskMounts are the places in fstab(5) that are those of the disk, whether it has a partition for them or not.
var diskMounts = []string{"/", "/boot", "/boot/efi", "/efi", "/proc", "none", "swap"}

// otherMounts are the lines of a fstab that are not about the disk, which has the files of own, or partitions for them.
func otherMounts(fstab string, own []string) string {
	var kept strings.Builder
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) > 2 && !strings.HasPrefix(fields[0], "#") && !slices.Contains(diskMounts, fields[1]) &&
			!slices.Contains(own, path.Clean(fields[1])) {
			kept.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return kept.String()
}

// remedy says how a root file system gets what it lacks.
type remedy struct {
	// containerfile says that a Containerfile has made it, and dpkg that Debian's packages can be added to it.
	containerfile, dpkg bool
	// name is that of its distribution.
	name string
}

func newRemedy(f *target.Memory, containerfile bool) remedy {
	fields, _ := debian.ReadOSRelease(f.ReadFile)
	_, err := f.Index.Follow("/var/lib/dpkg")
	return remedy{containerfile, err == nil, cmp.Or(fields["NAME"], "an unknown distribution")}
}

// add returns the end of an error: how packages are added, for a Containerfile the line, and otherwise what else helps.
// commands follow the installation in that line.
func (r remedy) add(packages, otherwise string, commands ...string) string {
	switch {
	case !r.dpkg:
		return either("", "", otherwise)
	case r.containerfile:
		run := append([]string{"apt-get update", "apt-get install -y " + packages}, commands...)
		return either("add to the Containerfile: RUN "+strings.Join(run, " && "), "; or ", otherwise)
	}
	return either("add the package "+packages+" to it", ", or ", otherwise)
}

// addInitramfs is add for the initramfs of a kernel that is there: the installation of initramfs-tools makes none.
func (r remedy) addInitramfs(version, otherwise string) string {
	command := "update-initramfs -c -k " + version
	if r.dpkg && !r.containerfile {
		return either("make it with "+command, ", or ", otherwise)
	}
	return r.add("initramfs-tools", otherwise, command)
}

// either returns the end of an error with two ways out, each of which may be empty.
func either(first, or, second string) string {
	switch {
	case first == "" && second == "":
		return ""
	case first == "" || second == "":
		or = ""
	}
	return ": " + first + or + second
}

// first puts the reason why no package helps before the problems, if that is so.
func (r remedy) first(problems []error) []error {
	if r.dpkg || len(problems) == 0 {
		return problems
	}
	return append(problem.New("--from", "the root file system is that of %s, without dpkg, so no package of Debian adds "+
		"what it lacks: begin with an image of Debian or of a distribution made from it", r.name), problems...)
}

// missing lists what the disk needs of the root file system and cannot get elsewhere, each with the option that would
// change that.
func missing(s Spec, d Disk, f *target.Memory, r remedy) []error {
	var problems []error
	lacks := func(flag, format string, args ...any) {
		problems = append(problems, problem.New(flag, format, args...)...)
	}
	there := func(name string) bool {
		_, err := f.Index.Follow(name)
		return err == nil
	}
	for _, b := range d.Blobs {
		if _, err := f.Index.File(b.File); b.Rootfs && err != nil {
			lacks("--raw", "the root file system has no file %s", b.File)
		}
	}
	// Before trixie /usr need not be merged.
	if d.Grow != step.GrowNothing && !there(d.Grow.File()) && !there(strings.TrimPrefix(d.Grow.File(), "/usr")) {
		lacks("--grow", "the root file system has no %s%s", d.Grow.File(), r.add(strings.Join(s.growPackages(), " "), ""))
	}
	if d.Loader == (boot.None{}) {
		return r.first(problems)
	}
	flag, none := s.loaderFlag(), "write an image that does not boot with --boot="+boot.WordNone
	kernels, err := boot.Kernels(d.Loader, f)
	if err != nil {
		return append(problems, err)
	}
	if len(kernels) == 0 {
		lacks(flag, "the root file system has no kernel (/boot/vmlinuz-VERSION)%s",
			strings.Replace(r.add("linux-image-"+s.Arch().Name, none), "the package", "a package like", 1))
	}
	for _, k := range kernels {
		if !k.Initrd {
			lacks(flag, "kernel %s has no initramfs (/boot/initrd.img-%s), which finds the root file system%s",
				k.Version, k.Version, r.addInitramfs(k.Version, none))
		}
	}
	if !slices.ContainsFunc([]string{"/sbin/init", "/etc/init", "/bin/init"}, there) {
		lacks(flag, "the root file system has no /sbin/init%s", r.add("systemd-sysv", none))
	}
	// Before trixie /usr need not be merged.
	if there("/lib/systemd/systemd") && !there("/lib/systemd/systemd-udevd") {
		lacks(flag, "the root file system has no udev, without which systemd waits for its partitions in vain%s",
			r.add("udev", none))
	}
	for _, part := range d.Loader.Files(d.Disk) {
		if !there(part.File) {
			lacks(flag, "the root file system has no /%s%s", part.File, r.add(part.Pkg, "choose another --boot"))
		}
	}
	return r.first(problems)
}
