// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/verity"
)

// Disk is the plan of a disk image: where everything is and how it boots. What it holds is known only when the root
// file system is complete.
type Disk struct {
	// Image is the name that was given for the file; Files are those that are written.
	Image string
	Files []ImageFile
	// BlockMap is the name of the block map file of the raw image, if one is wanted.
	BlockMap string
	// Request is what Layout was made from.
	Request diskimage.Request
	// Auto says that the disk gets its size from its content, with Free beside it. Until then the sizes in Request
	// and Layout stand for "enough"; roles, numbers and IDs are final.
	Auto bool
	Free Space
	// Blobs are written outside of the partitions.
	Blobs  []Blob
	Loader boot.Loader
	// LUKSKeys open the root partition if it is encrypted.
	LUKSKeys []luksKey
	// EnrolTPM2 has each machine enrol its TPM 2.
	EnrolTPM2 bool
	// Verity is what the root hash depends on besides the content, if there is a hash tree.
	Verity verity.Options
	// Artifacts is the directory for the files of an update to this image; empty for none.
	Artifacts string
	// Update are the names of those files, without the list of all versions, when they are written.
	Update []string
	// Grow has the root partition and its file system grow when the disk is larger at a start.
	Grow step.Grower
	boot.Disk
}

// newDisk lays the disk out.
func newDisk(spec Spec, lock Lock) (Disk, error) {
	o := spec.Options()
	d := Disk{
		Image: o.Image, Files: imageFiles(o), BlockMap: blockMapName(o), Auto: o.SizeAuto, Free: o.Free, Blobs: o.Blobs,
		Loader: spec.loader, Grow: spec.grower(), Artifacts: o.ABArtifacts,
		Disk: boot.Disk{
			MBR: o.MBR, Arch: o.Arch, Time: lock.Time, Vendor: spec.Release().Vendor,
			SignedEFI: spec.bootRequest().SignedEFI(), BootMount: o.BootMount, DeviceTree: deviceTree(o.DTB, lock),
			Slots: o.slots(),
		},
	}
	d.Signer, _ = secureBootSigner(o) // the rules have reported the errors
	for i, b := range d.Blobs {
		d.Blobs[i].copied = lock.Copy(b.File)
	}
	if o.SerialConsole {
		d.Serial = spec.SerialDevice()
	}
	described := func(fstype, what string) diskimage.Filesystem {
		seed := lock.Seed
		if d.Slots != nil && what != "/" { // fstab of an update has the names of what the machine has got before
			seed = diskimage.DeriveID(uuid.NameSpaceDNS, d.Slots.Name)
		}
		return diskimage.Filesystem{
			Type: fstype, Features: filesystem.Features(fstype, spec.Codename()), Time: lock.Time,
			UUID: diskimage.DeriveID(seed, what), Seed: diskimage.DeriveID(seed, what+" hash seed"),
		}
	}
	table := diskimage.TableKind(o.PartType)
	request := diskimage.Request{
		Size: o.Size, Table: table, SectorSize: o.SectorSize, Offset: o.Bootoffset, Arch: o.Arch, ID: diskID(lock.Seed),
		RestLast: o.Grow,
	}
	if d.Auto {
		request.Size = autoSize
	}
	add := func(p diskimage.PartitionRequest) { request.Partitions = append(request.Partitions, p) }

	for _, p := range d.Loader.Partitions(table) {
		add(p)
	}
	if d.Loader.UEFI() {
		esp := diskimage.PartitionRequest{Role: diskimage.RoleESP, Size: spec.espSize(),
			Filesystem: described("vfat", "ESP")}
		if table == diskimage.GPT {
			esp.Number = boot.GPTESPNumber
		}
		add(esp)
	}
	number := 0
	if table == diskimage.GPT {
		number = 1
	}
	if o.Bootsize > 0 {
		add(diskimage.PartitionRequest{Role: diskimage.RoleBoot, Size: o.Bootsize, Number: number,
			Filesystem: described(filesystem.Canonical(o.Boottype), "/boot")})
		if number != 0 {
			number++
		}
	}
	root := diskimage.PartitionRequest{Role: diskimage.RoleRoot, Number: number, Filesystem: described(o.Roottype, "/")}
	if o.LUKS {
		root.LUKS, d.LUKSKeys = diskimage.DeriveID(lock.Seed, "LUKS of /"), luksKeys(o)
		d.EnrolTPM2 = o.LUKSTPM2
	}
	root.ReadOnly = o.Verity || d.Slots != nil
	if d.Slots != nil {
		root.Label = d.Slots.Label()
	}
	add(root)
	if number != 0 {
		number++
	}
	var treeSize diskimage.Size
	if o.Verity {
		treeSize = verity.HashSize(request.Size) // more than for the root partition alone
		d.Verity = verityOptions(lock.Seed)
		tree := diskimage.PartitionRequest{Role: diskimage.RoleRootVerity, Number: number, ReadOnly: true, Size: treeSize}
		if d.Slots != nil {
			tree.Label = root.Label + verityLabel
		} else {
			d.Free = Space{}
		}
		add(tree)
		number++
	}
	if d.Slots != nil {
		for _, p := range slotB(number, treeSize) {
			add(p)
			number++
		}
	}
	if o.Swap > 0 {
		add(diskimage.PartitionRequest{Role: diskimage.RoleSwap, Size: o.Swap, Number: number,
			Filesystem: described("swap", "swap")})
	}
	flagBootable(&request, d.Loader)
	if o.Bootflag != "" {
		request.Partitions[0].Flags = append(request.Partitions[0].Flags, o.Bootflag)
	}
	var err error
	if d.Slots != nil {
		request, err = halve(request)
	}
	if d.Request = request; err == nil {
		d.Layout, err = diskimage.NewLayout(request)
	}
	if err != nil {
		return Disk{}, fmt.Errorf("lay out %s: %w", o.Image, err)
	}
	return d, nil
}

// flagBootable marks the partition that boot code in sector 0, or U-Boot, starts: the first one of an msdos table, as
// since 1.0, and the one with syslinux or U-Boot's menu in it on a GPT disk.
func flagBootable(r *diskimage.Request, l boot.Loader) {
	if r.Table == diskimage.MSDOS {
		r.Partitions[0].Flags = append(r.Partitions[0].Flags, "boot")
		return
	}
	if !l.LegacyBoot() {
		return
	}
	for i, p := range r.Partitions {
		if p.Role == diskimage.RoleBoot || p.Role == diskimage.RoleRoot {
			r.Partitions[i].Flags = append(p.Flags, "legacy_boot")
			return
		}
	}
}

// diskID is the disk's GUID, whose first four bytes are the signature of an msdos table; 0 there means "none".
func diskID(seed uuid.UUID) uuid.UUID {
	id := diskimage.DeriveID(seed, "disk")
	if id[0]|id[1]|id[2]|id[3] == 0 {
		id[0] = 1
	}
	return id
}

func (d Disk) title() string {
	var formats []string
	for _, f := range d.Files {
		formats = append(formats, f.Format)
	}
	size := d.Layout.Size.String()
	if d.Auto {
		size = autoText
		if !d.readOnly() || d.Slots != nil {
			size += " + " + d.Free.String()
		}
	}
	title := fmt.Sprintf("%s, %s, %s, %s", strings.Join(formats, " and "), size, d.Layout.Table, d.Loader)
	if d.Signer != nil {
		title += ", signed"
	}
	return title
}

// autoText stands for a number that is known when the content has been measured.
const autoText = "auto"

// rootSized are the partitions whose size follows from that of the root file system.
var rootSized = []diskimage.Role{diskimage.RoleRootVerity, diskimage.RoleRootB, diskimage.RoleRootVerityB}

// contents are the lines of a plan about what the disk holds.
func (d Disk) contents() []string {
	var lines []string
	root := d.Root()
	for _, p := range d.Layout.Partitions {
		size, start := p.Size.String(), p.Start.String()
		switch {
		case d.Auto && slices.Contains(rootSized, p.Role):
			size, start = autoText, autoText
		case d.Auto && p.Number == root.Number:
			size = autoText
		case d.Auto && p.Start > root.Start:
			start = autoText
		}
		line := fmt.Sprintf("%d %-10s %-6s %10s at %s", p.Number, p.Role, p.Filesystem.Type, size, start)
		if p.LUKS != uuid.Nil {
			line += ", encrypted"
		}
		if p.Number == root.Number && d.verifies() {
			line += ", verified"
		}
		if p.Label != "" {
			line += ", labelled " + p.Label
		}
		lines = append(lines, line)
	}
	if d.Artifacts != "" {
		lines = append(lines, "- the update to version "+d.Slots.Version+" in "+d.Artifacts)
	}
	for _, b := range d.Blobs {
		lines = append(lines, fmt.Sprintf("- %s at %s", b.name(), b.Offset))
	}
	return lines
}

// steps are what the root file system needs for its boot loader, to grow, and to enrol a TPM.
func (d Disk) steps() []step.Step {
	steps := d.Loader.Steps(d.Disk)
	if d.Grow != step.GrowNothing && d.Grow != step.GrowInitramfs {
		steps = append(steps, d.growStep())
	}
	if d.EnrolTPM2 {
		steps = append(steps, step.EnrolTPM2{LUKS: d.Root().LUKS.String()})
	}
	return steps
}

// grubProbe returns what grub-probe answers in the booted image; nothing if another boot loader starts it.
func (d Disk) grubProbe() grub.ProbeAnswers {
	if _, ok := d.Loader.(boot.GRUB); !ok {
		return grub.ProbeAnswers{}
	}
	return boot.ProbeAnswers(d.Disk)
}

func (d Disk) growStep() step.Grow {
	switch d.Grow {
	case step.GrowRepart:
		return step.Grow{Program: d.Grow, Type: d.Root().Type.String()}
	case step.GrowInitramfs:
		return step.Grow{Program: d.Grow, LUKS: d.Root().LUKS.String()}
	}
	return step.Grow{Program: d.Grow}
}

// fstabProc is the first line of every fstab(5).
var fstabProc = step.FstabEntry{Device: "proc", Dir: "/proc", Type: "proc", Options: "defaults"}

// fstabWithoutDisk is the fstab(5) of a root file system alone. The name of the root device is not known; it
// is the one that vmdebootstrap has always named. A live system has a root of its own making, which a line
// for / would have remounted.
func fstabWithoutDisk(o Options) []step.FstabEntry {
	if o.Squash != "" || o.ISO != "" {
		return []step.FstabEntry{fstabProc}
	}
	return []step.FstabEntry{fstabProc, {Device: "/dev/sda1", Dir: "/", Type: o.Roottype,
		Options: filesystem.Lookup(o.Roottype).Mount(), Pass: 1}}
}

// fstabEntries lists what fstab(5) mounts of a disk.
func fstabEntries(d *Disk) []step.FstabEntry {
	entries := []step.FstabEntry{fstabProc}
	root := d.Root()
	if !d.readOnly() { // else the initramfs has put an overlay there, which nothing may mount anew
		options := filesystem.Lookup(root.Filesystem.Type).Mount()
		if d.Grow != step.GrowNothing {
			options += ",x-systemd.growfs"
		}
		entries = append(entries, step.FstabEntry{Device: boot.DeviceName(root), Dir: "/", Type: root.Filesystem.Type,
			Options: options, Pass: 1})
	}
	// sysvinit mounts in the order of the lines: /boot comes before what is in it.
	for _, role := range []diskimage.Role{diskimage.RoleBoot, diskimage.RoleESP, diskimage.RoleSwap} {
		p, ok := d.Layout.Partition(role)
		if !ok {
			continue
		}
		device, only := boot.DeviceName(p), ""
		if d.readOnly() && d.Slots == nil {
			only = ",ro" // a kernel that is installed there would not find its modules at the next start
		}
		switch role {
		case diskimage.RoleBoot:
			entries = append(entries, step.FstabEntry{Device: device, Dir: d.BootMount, Type: p.Filesystem.Type,
				Options: filesystem.Lookup(p.Filesystem.Type).Mount() + only, Pass: 2})
		case diskimage.RoleESP:
			entries = append(entries, step.FstabEntry{Device: device, Dir: "/boot/efi", Type: "vfat",
				Options: "umask=0077" + only, Pass: 1})
		case diskimage.RoleSwap:
			if d.Root().LUKS != uuid.Nil {
				device = "/dev/mapper/" + swapMapping
			}
			entries = append(entries, step.FstabEntry{Device: device, Dir: "none", Type: "swap", Options: "sw"})
		}
	}
	return entries
}

// mounted are the entries of a fstab(5) that mount a partition.
func mounted(entries []step.FstabEntry) []step.FstabEntry {
	return slices.DeleteFunc(entries, func(e step.FstabEntry) bool { return e == fstabProc || e.Type == "swap" })
}

// ids are the names of the disk's partitions and file systems that texts of the target know them by.
func (d *Disk) ids() []string {
	var names []string
	for _, p := range d.Layout.Partitions {
		names = append(names, boot.UUID(p.Filesystem), p.PartUUID)
		if p.LUKS != uuid.Nil {
			names = append(names, p.LUKS.String())
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// readOnly reports whether the root file system never changes.
func (d Disk) readOnly() bool { return d.fixedSize() || d.verifies() }

// fixedSize reports whether the root file system is as large as its content, which is known when it is made.
func (d Disk) fixedSize() bool { return filesystem.Lookup(d.Root().Filesystem.Type).ReadOnly }

// verifies reports whether the root file system has a hash tree.
func (d Disk) verifies() bool {
	_, ok := d.Layout.Partition(diskimage.RoleRootVerity)
	return ok
}

// loaderOf is how an image is to boot.
func loaderOf(o Options) boot.Loader {
	arch, known := debian.LookupArch(o.Arch)
	return boot.Choose(boot.Choice{
		Word: o.Boot, UseUEFI: o.UseUEFI, Grub: o.Grub, Extlinux: o.Extlinux,
		PC: arch.PC || !known, // of an unknown one there is an error of its own
	})
}

// bootRequest is what the boot loader has to know.
func (s Spec) bootRequest() boot.Request {
	r := boot.Request{
		UseUEFI: s.o.UseUEFI, Arch: s.arch, Release: s.release,
		Image: s.o.Image != "", Table: diskimage.TableKind(s.o.PartType), SectorSize: s.o.SectorSize,
		Bootsize: s.o.Bootsize, Encrypted: s.o.LUKS, Roottype: s.o.Roottype, Boottype: filesystem.Canonical(s.o.Boottype),
	}
	_, r.OwnDeviceTree = ownDeviceTree(s.o.DTB)
	// The manual's default, 5 MiB, does not hold shim and GRUB; it stands for "large enough".
	if s.o.ESPSize != defaultESPSize {
		r.ESPSize = s.o.ESPSize
	}
	return r
}

// espSize is the length of the EFI system partition.
func (s Spec) espSize() diskimage.Size { return s.bootRequest().ESP(s.loader) }

// loaderFlag is the option that chose the loader, for messages.
func (s Spec) loaderFlag() string {
	switch {
	case s.o.Boot != "":
		return "--boot"
	case s.o.UseUEFI:
		return "--use-uefi"
	case s.o.Grub:
		return "--grub"
	default:
		return "--extlinux"
	}
}
