// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Packages are all packages that the build asks for by name, sorted, without what they depend on: table A.5 of the
// specification with today's names. It is what --dry-run prints.
func (s Spec) Packages() []string {
	packages := append(packageNames(s.o.Packages), s.KernelPackage())
	if s.bare() && s.KernelPackage() != "" {
		packages = append(packages, initPackages(s.release)...)
	}
	if s.KernelPackage() != "" && s.release.KernelRecommendsInitramfs() {
		packages = append(packages, initramfsTools)
	}
	if s.bare() && len(s.o.Users) > 0 {
		packages = append(packages, "adduser") // step.AddUser runs it
	}
	if s.o.Foreign == "" && !s.o.NoAcpid {
		packages = append(packages, "acpid")
	}
	if s.o.Sudo {
		packages = append(packages, "sudo")
	}
	packages = append(packages, s.loader.Packages(s.bootRequest())...)
	packages = append(packages, s.filesystemPackages()...)
	packages = append(packages, s.overlayPackages()...)
	packages = append(packages, s.luksPackages()...)
	packages = append(packages, s.verityPackages()...)
	packages = append(packages, s.abPackages()...)
	packages = append(packages, s.growPackages()...)
	packages = append(packages, s.networkPackages()...)
	packages = append(packages, s.loginPackages()...)
	if s.o.ISO != "" {
		packages = append(packages, boot.LivePackages(s.bootRequest())...)
	}
	return sortedSet(packages)
}

// networkPackages bring systemd-networkd and systemd-resolved. The latter, a package of its own since
// bookworm, pulls in the former; before, both are in systemd, which only a bare system lacks.
func (s Spec) networkPackages() []string {
	switch {
	case s.usesResolved() && s.release.ResolvedPackage():
		return []string{"systemd-resolved"}
	case s.usesNetworkd() && s.bare():
		return []string{"systemd"}
	}
	return nil
}

// KernelPackage is the kernel to install; empty for none.
func (s Spec) KernelPackage() string {
	switch {
	case s.o.NoKernel:
		return ""
	case s.o.KernelPackage != "":
		return s.o.KernelPackage
	}
	return s.arch.KernelPackage(s.release)
}

// usesNetworkd reports whether systemd-networkd sets the network up.
func (s Spec) usesNetworkd() bool { return s.o.SystemdNetworkd && s.release.Systemd() }

// usesResolved reports whether systemd-resolved answers names as well.
func (s Spec) usesResolved() bool { return s.usesNetworkd() && s.release.Resolved() }

// bare reports whether debootstrap is told to leave out the packages of priority important, init among them.
func (s Spec) bare() bool {
	for _, word := range step.DebootstrapWords(s.o.Debootstrapopts) {
		switch word {
		case "variant=minbase", "variant=buildd", "variant=fakechroot":
			return true
		}
	}
	return false
}

// initPackages make a bare system boot: something to be process 1, and something that loads drivers.
func initPackages(r debian.Release) []string {
	if r.Sysvinit() {
		return []string{"sysvinit", "udev"}
	}
	if !r.Systemd() {
		return []string{"upstart", "udev"}
	}
	return []string{"systemd-sysv", "udev"}
}

// packageNames splits the values of --package at commas, which always worked because debootstrap joins names
// with them, and at blanks, which the shell of the original split at.
func packageNames(values []string) []string {
	var names []string
	for _, value := range values {
		names = append(names, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })...)
	}
	return names
}

// relation returns what a package in the words of apt-get(8), NAME[:ARCH][=VERSION] or NAME[:ARCH]/SUITE,
// asks of an index of the suite that is built; "" if that cannot have it, so that apt alone decides.
func relation(asked, arch string) string {
	name, version, exact := strings.Cut(asked, "=")
	name, _, _ = strings.Cut(name, "/")
	name, of, foreign := strings.Cut(name, ":")
	switch {
	case foreign && of != arch && of != "any" && of != "native":
		return ""
	case exact:
		return fmt.Sprintf("%s (= %s)", name, version)
	}
	return name
}

// relations are those of several packages.
func relations(asked []string, arch string) []string {
	all := make([]string, len(asked))
	for i, name := range asked {
		all[i] = relation(name, arch)
	}
	return all
}

// sortedSet sorts names, each once and none empty.
func sortedSet(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	slices.Sort(names)
	return slices.Compact(names)
}

// filesystemTypesOf are the types of the disk's file systems that hold files of the root file system.
func (s Spec) filesystemTypesOf() []filesystem.Type {
	if s.o.Image == "" {
		return nil
	}
	types := []filesystem.Type{filesystem.Lookup(s.o.Roottype)}
	if s.o.Bootsize > 0 {
		types = append(types, filesystem.Lookup(s.o.Boottype))
	}
	return types
}

// filesystemPackages are the packages of the disk's file systems that the target needs.
func (s Spec) filesystemPackages() []string {
	var packages []string
	for _, t := range s.filesystemTypesOf() {
		if t.Package != "" {
			packages = append(packages, t.Package)
		}
	}
	return packages
}

// mkfsTypes are the types of the outputs' file systems that programs make.
func (s Spec) mkfsTypes() []filesystem.Type {
	types := s.filesystemTypesOf()
	if s.o.ISO != "" {
		types = append(types, filesystem.Lookup(liveType))
	}
	return slices.DeleteFunc(types, func(t filesystem.Type) bool { return t.Program == nil })
}

// mkfsPackages are the packages of these programs.
func (s Spec) mkfsPackages() []string {
	var packages []string
	for _, t := range s.mkfsTypes() {
		packages = append(packages, t.Package)
	}
	return packages
}

// grower chooses for --grow.
func (s Spec) grower() step.Grower {
	switch {
	case !s.o.Grow:
		return step.GrowNothing
	case s.o.LUKS:
		return step.GrowInitramfs
	case s.o.PartType == string(diskimage.GPT) && s.release.Vendor == debian.Debian && s.release.Since("bookworm", ""):
		return step.GrowRepart
	default:
		return step.GrowSfdisk
	}
}

// growPackages are the packages of the program.
func (s Spec) growPackages() []string {
	switch {
	case s.grower() == step.GrowSfdisk, s.grower() == step.GrowInitramfs:
		return []string{"fdisk"} // not in every system made with variant=minbase
	case s.grower() == step.GrowRepart && s.release.Since("trixie", ""):
		return []string{"systemd-repart"} // part of systemd before
	default:
		return nil
	}
}

// initramfsTools is the package that makes the initramfs.
const initramfsTools = "initramfs-tools"

// readOnly reports whether the root file system never changes.
func (s Spec) readOnly() bool { return filesystem.Lookup(s.o.Roottype).ReadOnly || s.o.Verity }

// overlayPackages are the packages that the initramfs is made with: another program would not run what the step writes.
func (s Spec) overlayPackages() []string {
	if s.o.Image == "" || !s.readOnly() {
		return nil
	}
	return []string{initramfsTools}
}

// dpkgStatus is the file in which dpkg records the packages that it knows, installed or not.
const dpkgStatus = "/var/lib/dpkg/status"

// fileReader reads files of a root file system by their names in it.
type fileReader interface {
	ReadFile(name string) ([]byte, error)
}

// readDpkgStatus returns the stanzas of dpkgStatus; nil if there is no such file.
func readDpkgStatus(root fileReader) ([]archive.Stanza, error) {
	text, err := root.ReadFile(dpkgStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stanzas, err := archive.ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dpkgStatus, err)
	}
	return stanzas, nil
}

// MissingError says which packages the suite and the components of a build lack, and where else the mirror has them.
type MissingError struct {
	// Err names the packages, and the options that ask for them.
	Err error
	// Suite and Components are those of the build.
	Suite      string
	Components []string
	Found      []Elsewhere
}

// Elsewhere is a part of the mirror that has a package which the build's own suite and components lack: another
// component of this suite, or another suite.
type Elsewhere struct{ Package, Component, Suite string }

func (e *MissingError) Error() string {
	text := e.Err.Error()
	for _, f := range e.Found {
		text += fmt.Sprintf("\n%s is in the component %s of %s", f.Package, f.Component, f.Suite)
	}
	return text
}

func (e *MissingError) Unwrap() error { return e.Err }

// elsewhere returns err, as a MissingError if the mirror has packages that it names in other components of the suite or
// in other suites. What cannot be read there has nothing.
func elsewhere(ctx context.Context, spec Spec, client *archive.Client, release *archive.Release, err error) error {
	var unresolved *archive.UnresolvedError
	if !errors.As(err, &unresolved) {
		return err
	}
	missing := map[string]bool{}
	for _, m := range unresolved.Missing {
		if name, _, _ := strings.Cut(m.Relation, " "); len(m.WantedBy) == 0 {
			missing[name] = true
		}
	}
	found := &MissingError{Err: err, Suite: spec.Codename(), Components: components(spec.o, spec.release)}
	look := func(release *archive.Release, suite string, components []string) {
		for _, component := range components {
			if len(missing) == 0 {
				return
			}
			index, err := client.Packages(ctx, release, component, spec.o.Arch)
			if err != nil {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(missing)) {
				if index.Lookup(name) != nil {
					found.Found = append(found.Found, Elsewhere{name, component, suite})
					delete(missing, name)
				}
			}
		}
	}
	look(release, spec.Codename(), slices.DeleteFunc(slices.Clone(release.Components),
		func(c string) bool { return slices.Contains(found.Components, c) }))
	suites := []string{spec.Codename() + "-updates", spec.Codename() + "-backports"}
	if spec.release.Vendor == debian.Debian && spec.Codename() != "sid" {
		suites = append(suites, "sid")
	}
	for _, suite := range suites {
		if len(missing) == 0 {
			break
		}
		if other, err := client.Release(ctx, spec.mirror().Reveal(), suite); err == nil {
			look(other, suite, other.Components)
		}
	}
	if len(found.Found) == 0 {
		return err
	}
	return found
}
