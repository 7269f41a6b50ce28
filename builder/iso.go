// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/iso9660"
)

// ISO is the plan of a live medium: an ISO 9660 file system with the root file system as a squashfs, which live-boot
// starts from a CD or a USB stick.
type ISO struct {
	File     string
	VolumeID string
	// ID is that of the disk that a stick becomes.
	ID     uuid.UUID
	Loader boot.Live
	// System is the release and the architecture, for people.
	System string
}

// liveType is the type of the file system that live-boot looks for.
const liveType = "squashfs"

// liveArguments are those of the kernel. Without nonetworking, live-boot writes /etc/network/interfaces over that of
// the image, with DHCP for each card, or complains on the console if ifupdown is not there (live-boot,
// 9990-netbase.sh).
const liveArguments = "boot=live components nonetworking"

// newISO plans the medium.
func newISO(spec Spec, lock Lock) ISO {
	o, release := spec.o, spec.release
	iso := ISO{File: o.ISO, VolumeID: spec.volumeID(), ID: diskimage.DeriveID(lock.Seed, "live medium"),
		System: strings.TrimSpace(fmt.Sprintf("%s GNU/Linux %s", release.Vendor, release.Version)) +
			fmt.Sprintf(" (%s) %s", release.Codename, o.Arch),
		Loader: boot.Live{Arch: spec.arch, Vendor: release.Vendor, Signed: spec.bootRequest().SignedEFI(),
			UUID: iso9660.UUID(lock.Time), Arguments: liveArguments, Time: lock.Time}}
	if o.ISOPersistence {
		iso.Loader.Arguments += " persistence"
	}
	if o.SerialConsole {
		iso.Loader.Serial = spec.SerialDevice()
	}
	return iso
}

// volumeID is the name of the medium.
func (s Spec) volumeID() string {
	if s.o.ISOLabel != "" {
		return s.o.ISOLabel
	}
	return strings.ToLower(string(s.release.Vendor)) + "-" + s.release.Codename + "-" + s.o.Arch
}

func (i ISO) title() string { return fmt.Sprintf("live system %s, %s", i.VolumeID, i.Loader) }

// isoPossible: --iso is the only output with a boot loader of its own, and what it boots can be made.
func isoPossible(s Spec) []error {
	if s.o.ISO == "" {
		if s.o.ISOLabel != "" || s.o.ISOPersistence {
			return problem.New("--iso", "--iso-label and --iso-persistence need it")
		}
		return nil
	}
	var problems []error
	refuse := func(flag string, when bool, format string, args ...any) {
		if when {
			problems = append(problems, problem.New(flag, format, args...)...)
		}
	}
	refuse("--iso", s.o.Image != "" || s.o.Tarball != "" || s.o.Squash != "",
		"cannot be combined with --image, --tarball or --squash")
	for _, chosen := range []struct {
		flag  string
		given bool
	}{{"--boot", s.o.Boot != ""}, {"--grub", s.o.Grub}, {"--use-uefi", s.o.UseUEFI}} {
		refuse(chosen.flag, chosen.given, "a medium of --iso starts on every firmware of its architecture: drop it")
	}
	if s.o.ISOLabel != "" {
		if err := iso9660.CheckVolumeID(s.o.ISOLabel); err != nil {
			problems = append(problems, &problem.Problem{Flag: "--iso-label", Err: err})
		}
	}
	refuse("--iso", !s.o.UpdateInitramfs, "needs an initramfs with live-boot: drop --no-update-initramfs")
	refuse("--iso", s.release.Vendor != debian.Debian, "live-boot makes live systems of Debian, not of %s",
		s.release.Vendor)
	refuse("--iso", s.release.Vendor == debian.Debian && !s.release.Since("buster", ""),
		"%s is too old: it needs Debian buster", s.release.Codename)
	refuse("--iso", s.arch.Name != "" && !s.arch.PC && s.arch.EFI == "", "%s has neither a BIOS nor UEFI", s.arch.Name)
	return problems
}

// WriteISO writes the finished root file system to a live medium.
func (r *Result) WriteISO(ctx context.Context, iso ISO) error {
	root := &filesystem.Volume{Tools: r.site.Tools(), Dir: r.Rootfs.Root()}
	return iso.write(ctx, r.x.Progress, r.Rootfs, root)
}

// write writes the medium. files are those of the root file system, and root makes its file system.
func (i ISO) write(ctx context.Context, report *progress.Reporter, files target.Files, root *filesystem.Volume) (
	err error,
) {
	report.Message(fmt.Sprintf("write %s (%s)", i.File, i.title()))
	parts, err := i.Loader.Prepare(files)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", i.Loader, err)
	}
	own, err := mediumFiles(files, i.Loader.Time)
	if err != nil {
		return fmt.Errorf("read the files for the medium: %w", err)
	}
	root.Filesystem, root.EmptyDirs = diskimage.Filesystem{Type: liveType, Time: i.Loader.Time}, mountPoints
	if len(own) > 0 {
		parts.Files = append(parts.Files, own...)
		root.EmptyDirs = append(slices.Clone(mountPoints), mediumDir)
	}
	made, err := root.Make(ctx)
	if err != nil {
		return fmt.Errorf("make the %s: %w", liveType, err)
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	plan, err := i.plan(parts, made)
	if err != nil {
		return fmt.Errorf("lay out %s: %w", i.File, err)
	}
	return diskimage.WriteFile(ctx, i.File, outputMode, func(f *os.File) error {
		defer report.Sample("write", int64(plan.Image.Layout.Size), progress.Bytes,
			func() int64 { return allocated([]*os.File{f}) })()
		return plan.Image.Write(ctx, f)
	})
}

// plan lays the medium out.
func (i ISO) plan(parts boot.LiveParts, root *os.File) (*iso9660.Plan, error) {
	info, err := root.Stat()
	if err != nil {
		return nil, err
	}
	made := i.Loader.Time
	squashfs := diskimage.FileEntry(boot.LiveDir+"/"+SquashName, 0o644, nil, made)
	squashfs.Size = info.Size()
	squashfs.Open = func() (diskimage.Content, error) { return sharedFile{root}, nil }
	about := fmt.Sprintf("%s live %s\n", i.System, made.UTC().Format(time.DateOnly))
	medium := iso9660.Medium{VolumeID: i.VolumeID, Publisher: "VMDEBOOTSTRAP", Application: i.System, Time: made, ID: i.ID}
	medium.Files, err = diskimage.Overlay(diskimage.EmptyTree(made),
		append(parts.Files, squashfs, diskimage.FileEntry(".disk/info", 0o644, []byte(about), made))...)
	if err != nil {
		return nil, err
	}
	if parts.ESP != nil {
		if medium.ESP, err = diskimage.Overlay(diskimage.EmptyTree(made), parts.ESP...); err != nil {
			return nil, err
		}
	}
	if parts.BIOS() {
		medium.BIOSImage = boot.LiveBIOSImage
	}
	plan, err := medium.Plan()
	if err != nil || !parts.BIOS() {
		return plan, err
	}
	block, err := plan.Block(boot.LiveBIOSImage)
	if err != nil {
		return nil, err
	}
	plan.Image.Patches, err = parts.Patches(block)
	return plan, err
}

// sharedFile is the content of an open file that is closed elsewhere.
type sharedFile struct{ *os.File }

// Close implements diskimage.Content.
func (sharedFile) Close() error { return nil }

// writeISO writes a live medium of an existing root file system, whose initramfs must be one of live-boot.
func (a *Assembly) writeISO(ctx context.Context, spec Spec, lock Lock, found system, files *target.Memory) (err error) {
	iso := newISO(spec, lock)
	iso.Loader.Signed = boot.HasSignedEFI(boot.Disk{Arch: spec.arch.Name, Vendor: spec.release.Vendor}, files)
	if err := errors.Join(iso.missing(files, newRemedy(files, a.Containerfile))...); err != nil {
		return err
	}
	a.Progress.Message(fmt.Sprintf("a root file system of %s for %s", spec.Codename(), spec.arch.Name))
	if err := leaveContainer(files); err != nil {
		return err
	}
	if err := writeFstab(files, fstabWithoutDisk(spec.o), a.MountPoints); err != nil {
		return err
	}
	configured, err := files.Tree()
	if err != nil {
		return err
	}
	title := "write " + iso.File
	description, err := a.describe(ctx, spec, a.systemOf(spec, found, files), configured)
	if err != nil {
		return err
	}
	a.Progress.Plan([]string{readLists, makeToolbox, unpackRoot, title})
	u, err := a.unpack(ctx, spec, configured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.close()) }()
	a.Progress.Begin(title)
	root := &filesystem.Volume{Tools: u.site.Tools(), Dir: u.dir}
	if err := iso.write(ctx, a.Progress, files, root); err != nil || description == nil {
		return err
	}
	return spec.writeDescriptions(ctx, a.Progress, *description, nil)
}

// missing lists what the medium needs of an existing root file system.
func (i ISO) missing(f *target.Memory, r remedy) []error {
	var problems []error
	lacks := func(what, how string) {
		problems = append(problems, problem.New("--iso", "the root file system has no %s%s", what, how)...)
	}
	kernels, err := boot.Kernels(boot.None{}, f)
	if err != nil {
		return []error{err}
	}
	if len(kernels) == 0 {
		lacks("kernel (/boot/vmlinuz-VERSION)", r.add("linux-image-"+i.Loader.Arch.Name, ""))
	}
	for _, k := range kernels {
		if !k.Initrd {
			lacks(fmt.Sprintf("initramfs of kernel %s (/boot/initrd.img-%[1]s)", k.Version), r.addInitramfs(k.Version, ""))
		}
	}
	for _, part := range i.Loader.FilesNeeded() {
		if _, err := f.Index.Follow(part.File); err != nil {
			lacks("/"+part.File, r.add(part.Pkg, ""))
		}
	}
	return r.first(problems)
}
