// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Assembly makes a disk image, or a live medium, of a root file system that is there already. It does what the end of a
// build does, with the same code; nothing of the root file system is run.
type Assembly struct {
	// Options are those of a build as far as they are about the disk and its boot loader. An empty
	// Distribution and Arch are what the root file system says of itself.
	Options Options
	World   World
	Lock    Lock
	// Archive opens the archive client that gets the files of extlinux where the root file system has none.
	Archive func() (*archive.Client, error)
	// Executor runs the programs that make file systems; it may be nil if none is needed, see RunsPrograms.
	Executor *Executor
	// Progress receives what the assembly does; nil drops it.
	Progress *progress.Reporter
	// MountPoints are places where the source had file systems of its own, whose files are in the tree: /etc/fstab must
	// not mount them.
	MountPoints []string
	// Containerfile says that a Containerfile has made the root file system: what is missing in that can be added there.
	Containerfile bool

	made Spec
}

// Spec returns the Spec of a build that would have written the image of Write, which must have succeeded.
func (a *Assembly) Spec() Spec { return a.made }

// Check finds the mistakes in the options that can be known before the root file system is read. The error joins all of
// them, each a *Problem.
func (a *Assembly) Check() error {
	var unknown system
	if a.Options.Arch == "" {
		unknown.arch = "amd64" // for which every boot loader is possible, except:
		if a.Options.Boot == boot.WordUBoot {
			unknown.arch = "arm64"
		}
	}
	_, err := a.spec(unknown)
	return err
}

// Write writes the image or the medium. What it needs and the root file system lacks is one error, before anything is
// written.
func (a *Assembly) Write(ctx context.Context, tree diskimage.Tree) (err error) {
	files, err := target.NewMemory(tree, a.Lock.Time)
	if err != nil {
		return &problem.Problem{Flag: "--from", Err: err}
	}
	if err := noImage(files); err != nil {
		return err
	}
	found, err := identify(files)
	if err != nil {
		return err
	}
	spec, err := a.spec(found)
	if err != nil {
		return err
	}
	a.made = spec
	lock := a.Lock
	lock.Codename = spec.Codename()
	if spec.o.ISO != "" {
		return a.writeISO(ctx, spec, lock, found, files)
	}
	disk, err := newDisk(spec, lock)
	if err != nil {
		return err
	}
	disk.SignedEFI = boot.HasSignedEFI(disk.Disk, files)
	_, err = files.Index.File(boot.MonolithicGRUB("i386-efi"))
	disk.OnlyEFI64 = err != nil
	if err := errors.Join(missing(spec, disk, files, newRemedy(files, a.Containerfile))...); err != nil {
		return err
	}
	a.Progress.Message(fmt.Sprintf("a root file system of %s for %s", spec.Codename(), spec.Arch().Name))
	if err := disk.configure(files, a.MountPoints); err != nil {
		return fmt.Errorf("configure %s: %w", disk.Loader, err)
	}
	configured, err := files.Tree()
	if err != nil {
		return err
	}
	title := "write " + strings.Join(disk.fileNames(), " and ")
	description, err := a.describe(ctx, spec, a.systemOf(spec, found, files), configured)
	if err != nil {
		return err
	}
	titles := []string{title}
	if a.RunsPrograms() {
		titles = []string{readLists, makeToolbox, unpackRoot, title}
	}
	a.Progress.Plan(titles)
	var u *unpacked
	if a.RunsPrograms() {
		if u, err = a.unpack(ctx, spec, configured); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, u.close()) }()
	}
	programs := &assemblyPrograms{unpacked: u, files: files, spec: spec, archive: a.Archive, report: a.Progress}
	a.Progress.Begin(title)
	written, err := assembler{report: a.Progress, tree: configured, Files: files, programs: programs}.write(ctx, disk)
	if err != nil || description == nil {
		return err
	}
	description.Disk = written.manifest()
	return spec.writeDescriptions(ctx, a.Progress, *description, nil)
}

// describe reads what --manifest and --sbom say of the root file system; nil if neither is asked for. What it was made
// of is not known: there is no plan, no archive and no origin of a package.
func (a *Assembly) describe(ctx context.Context, spec Spec, system manifest.System, tree diskimage.Tree) (
	*manifest.Manifest, error,
) {
	if len(spec.descriptions()) == 0 {
		return nil, nil
	}
	a.Progress.Message("describe the root file system")
	m := &manifest.Manifest{Schema: manifest.Schema, Program: spec.w.Program, Created: a.Lock.Time.UTC(), System: system,
		Archives: []manifest.Archive{}, Inputs: []manifest.Input{}, Plan: []manifest.Step{}}
	var err error
	if m.Packages, m.Unowned, err = manifest.Collect(ctx, tree); err != nil {
		return nil, fmt.Errorf("describe the root file system: %w", err)
	}
	if len(m.Packages) == 0 {
		return nil, &problem.Problem{Flag: spec.descriptions()[0].flag,
			Err: errors.New("dpkg has no packages in the root file system")}
	}
	return m, nil
}

// systemOf returns the system for a manifest. Of a release that is not known here it is what the root file system says.
func (a *Assembly) systemOf(spec Spec, found system, files *target.Memory) manifest.System {
	s := manifest.System{Vendor: string(spec.release.Vendor), Version: spec.release.Version,
		Codename: spec.release.Codename, Architecture: spec.o.Arch}
	if found.codename == "" && a.Options.Distribution == "" {
		fields, _ := debian.ReadOSRelease(files.ReadFile)
		const unknown = "unknown"
		s.Vendor, s.Version = cmp.Or(fields["NAME"], unknown), fields["VERSION_ID"]
		s.Codename = cmp.Or(fields["VERSION_CODENAME"], fields["ID"], unknown)
	}
	return s
}

// imageMarks are files that are in container images beside their layers, by what has to stand before their name.
var imageMarks = map[string]string{"oci-layout": transport.OCI + ": or " + transport.OCIArchive + ":",
	"manifest.json": transport.DockerArchive + ":"}

// noImage refuses a container image that was given as a tarball or directory of files.
func noImage(f *target.Memory) error {
	if _, there := f.Index["etc"]; there {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(imageMarks)) {
		if _, there := f.Index[name]; there {
			return &problem.Problem{Flag: "--from",
				Err: fmt.Errorf("there is %q in it, so it is a container image: write %s before its name", name,
					imageMarks[name])}
		}
	}
	return nil
}

// spec checks the options for a root file system.
func (a *Assembly) spec(found system) (Spec, error) {
	o := a.Options
	// The kernel is there or not, and the rules for packages have nothing to say.
	o.NoKernel, o.Foreign, o.BuildArgs, o.BuildSecrets = true, "", nil, nil
	if o.Image == "" {
		o.SizeAuto = false // the size of a disk
	}
	var problems []error
	if found.arch != "" && o.Arch != "" && o.Arch != found.arch {
		problems = append(problems, problem.New("--arch", "the root file system is of %s, not of %s", found.arch,
			o.Arch)...)
	}
	for _, setting := range []struct {
		value            *string
		found, otherwise string
	}{{&o.Arch, found.arch, a.World.HostArch}, {&o.Distribution, found.codename, DefaultOptions().Distribution}} {
		switch {
		case *setting.value != "":
		case setting.found != "":
			*setting.value = setting.found
		default:
			*setting.value = setting.otherwise
		}
	}
	o.Pockets = []string{PocketsNone} // only tools are downloaded
	spec, err := NewSpec(o, a.World)
	if err == nil {
		problems = append(problems, needsBuild(spec)...)
	}
	return spec, errors.Join(append(problems, err)...)
}

// needsBuild finds what needs more of a root file system than one that is there already may have.
func needsBuild(s Spec) []error {
	if filesystem.Lookup(s.o.Roottype).ReadOnly {
		return problem.New("--roottype", "%s needs an initramfs of its own, which only a build makes", s.o.Roottype)
	}
	return nil
}

// system is what a root file system says of itself; what it does not say, or what we do not know, is empty.
type system struct{ codename, arch string }

// identify looks for the release and the architecture.
func identify(f *target.Memory) (system, error) {
	var s system
	if fields, ok := debian.ReadOSRelease(f.ReadFile); ok {
		// Releases that are not known have no codename here.
		release, _ := debian.ReleaseOf(fields["ID"], fields["VERSION_CODENAME"], fields["VERSION_ID"])
		s.codename = release.Codename
	}
	packages, err := readDpkgStatus(f)
	if err != nil {
		return s, err
	}
	for _, p := range packages {
		if p.Get("Package") == "dpkg" {
			s.arch = p.Get("Architecture")
		}
	}
	if _, known := debian.LookupArch(s.arch); !known {
		s.arch = elfArch(f)
	}
	return s, nil
}

// elfArch tells the architecture by the first of some programs that is there. Of two with the same programs,
// which differ in what they ask of the processor, it is the first that archOf knows.
func elfArch(f *target.Memory) string {
	for _, name := range []string{"/bin/sh", "/sbin/init", "/usr/bin/env"} {
		data, err := f.ReadFile(name)
		if err != nil {
			continue
		}
		program, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			continue
		}
		if arch, ok := debian.ArchOf(program.FileHeader); ok {
			return arch.Name
		}
	}
	return ""
}
