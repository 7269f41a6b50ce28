// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// World is what NewSpec must know of the place where it runs; it looks at nothing else.
type World struct {
	// Stat is os.Stat, or takes its place in tests.
	Stat func(name string) (fs.FileInfo, error)
	// ReadFile is os.ReadFile, or takes its place in tests; it reads the program of --foreign, and scripts: nil leaves
	// their first lines unchecked.
	ReadFile func(name string) ([]byte, error)
	// Writable returns an error if files cannot be made in a directory; nil leaves that unchecked.
	Writable func(dir string) error
	// LookupUser is user.Lookup; nil leaves the name of --owner unchecked.
	LookupUser func(name string) (*user.User, error)
	// UID is the user ID of the caller; only 0 may give files to others.
	UID int
	// Dir is the absolute working directory, for the relative name of a hook.
	Dir string
	// Today decides which releases stable, testing and the like are.
	Today time.Time
	// HostArch is the Debian architecture of this machine.
	HostArch string
	// HostMirror is the Debian mirror that this machine itself uses; empty for none.
	HostMirror secret.URL
	// HostUpdates says that this machine has the updates of HostMirror, and HostSecurity is its security archive; empty
	// for none.
	HostUpdates  bool
	HostSecurity secret.URL
	// HostAllowsExpired says that its apt accepts suites of it whose Valid-Until has passed.
	HostAllowsExpired bool
	// Program is this program's name and version: "vmdebootstrap 1.8.0".
	Program string
	// Locked is the lock file that the build follows; nil for none.
	Locked *lockfile.File
	// Netrc has credentials for mirrors, in the format of netrc files and apt_auth.conf(5).
	Netrc secret.Text
}

// absolute returns a file's name from the root directory on.
func (w World) absolute(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(w.Dir, name)
}

// Mirrors for a machine that has none of its own.
var (
	debianMirror = secret.NewURL("http://ftp.debian.org/debian")
	ubuntuMirror = secret.NewURL("http://archive.ubuntu.com/ubuntu")
	// ubuntuPortsMirror has all architectures but those of PCs.
	ubuntuPortsMirror = secret.NewURL("http://ports.ubuntu.com/ubuntu-ports")
	// ubuntuOldMirror has all architectures of the releases that have left the other two.
	ubuntuOldMirror = secret.NewURL("http://old-releases.ubuntu.com/ubuntu")
)

// minSwap is the smallest swap partition: QEMU gives a machine 128 MiB of memory by default, and swap should be more.
const minSwap = 256 * diskimage.MiB

// StandardOutput in place of the name of a tarball is standard output.
const StandardOutput = "-"

// standardOutputs are its other names, see proc(5).
var standardOutputs = []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

// Spec is what to build: Options with the gaps filled and every rule checked. It does not change, and shares no
// memory with the Options it comes from. The zero Spec is of no use; NewSpec makes one.
type Spec struct {
	o       Options
	release debian.Release
	arch    debian.Arch
	loader  boot.Loader
	w       World
	// containerfiles are the Containerfiles of the actions, by their names.
	containerfiles map[string]evaluatedFile
	// ownMirror says that the mirror is that of this machine because no other is named.
	ownMirror bool
	// now is the time of the call, and clock that of the first build if there is a lock, with which signatures are
	// compared. w.Today is that of a snapshot, if there is one.
	now, clock time.Time
	// snapshot is what the image is made of, and furtherSnapshot stands in for mirrors of a lock; both may be zero.
	snapshot, furtherSnapshot archiveSnapshot
}

// NewSpec fills the gaps of o and checks it. The error joins all mistakes, each of them a *Problem.
func NewSpec(o Options, w World) (Spec, error) {
	w.HostMirror, w.HostSecurity = withLogin(w.HostMirror, w.Netrc), withLogin(w.HostSecurity, w.Netrc)
	s := Spec{o: o.clone(), w: w, now: w.Today}
	s.followLock()
	s.clock = s.w.Today
	s.chooseSnapshot()
	w = s.w
	if s.o.Arch == "" {
		s.o.Arch = w.HostArch
	}
	if s.o.Swap > 0 {
		s.o.Swap = max(s.o.Swap, minSwap)
	}
	if slices.Contains(standardOutputs, s.o.Tarball) {
		s.o.Tarball = StandardOutput
	}
	for i, file := range s.o.CustomPackages {
		s.o.CustomPackages[i] = w.absolute(file)
	}
	for i, b := range s.o.Blobs {
		if !b.Rootfs {
			s.o.Blobs[i].File = w.absolute(b.File)
		}
	}
	if s.o.Foreign != "" && !filepath.IsAbs(s.o.Foreign) {
		s.o.Foreign = filepath.Join(w.Dir, s.o.Foreign)
	}
	var problems []error
	s.arch, problems = findArch(s.o, problems)
	s.release, problems = findRelease(s.o, w, problems)
	s.o.Actions, problems = resolveActions(s.o, w, problems)
	s.containerfiles, problems = readContainerfiles(s.o, s.arch, w, problems)
	if s.o.Mirror.IsZero() {
		s.o.Mirror = s.defaultMirror()
		s.ownMirror = s.o.Mirror == w.HostMirror && !s.ofSnapshot()
		s.o.AllowExpired = s.o.AllowExpired || w.HostAllowsExpired && s.ownMirror
	}
	s.o.Mirror, s.o.ToolsMirror = withLogin(s.o.Mirror, w.Netrc), withLogin(s.o.ToolsMirror, w.Netrc)
	s.o.SecurityMirror = withLogin(s.o.SecurityMirror, w.Netrc)
	for _, file := range []*string{&s.o.AptPreferences, &s.o.UserData, &s.o.MetaData, &s.o.NetworkConfig, &s.o.ABKey} {
		if *file != "" {
			*file = w.absolute(*file)
		}
	}
	for i, name := range s.o.SSHKeys {
		s.o.SSHKeys[i] = w.absolute(name)
	}
	for i, k := range s.o.AuthorizedKeys {
		s.o.AuthorizedKeys[i].File = w.absolute(k.File)
	}
	for i, r := range s.o.Repositories {
		s.o.Repositories[i] = r.resolve(s.o, w)
	}
	if file, own := ownDeviceTree(s.o.DTB); own && file != "" {
		s.o.DTB = deviceTreeFile + w.absolute(file)
	}
	if s.o.CA != "" {
		s.o.CA = w.absolute(s.o.CA)
	}
	s.loader = loaderOf(s.o)
	for _, rule := range rules {
		problems = append(problems, rule(s)...)
	}
	if len(problems) == 0 {
		problems = diskWorks(s)
	}
	if len(problems) > 0 {
		return Spec{}, errors.Join(problems...)
	}
	return s, nil
}

// defaultMirror is the mirror for a build that names none. An image of a snapshot must not depend on this machine.
func (s Spec) defaultMirror() secret.URL {
	switch {
	case s.release.Vendor == debian.Ubuntu && s.release.Moved(s.w.Today):
		return ubuntuOldMirror
	case s.release.Vendor == debian.Ubuntu && s.arch.PC:
		return ubuntuMirror
	case s.release.Vendor == debian.Ubuntu:
		return ubuntuPortsMirror
	case !s.w.HostMirror.IsZero() && !s.ofSnapshot():
		return s.w.HostMirror
	}
	return debianMirror
}

// Options returns a copy of the settings, with every default filled in.
func (s Spec) Options() Options { return s.o.clone() }

// urls are the URLs that apt gets packages from, with their credentials.
func (s Spec) urls() []secret.URL {
	urls := []secret.URL{s.mirror()}
	for _, r := range s.Repositories(s.Codename()) {
		if !slices.Contains(urls, r.URL) {
			urls = append(urls, r.URL)
		}
	}
	return urls
}

// Encrypted reports whether a mirror is asked with TLS.
func (s Spec) Encrypted() bool {
	return slices.ContainsFunc(s.urls(), func(u secret.URL) bool {
		_, encrypted := u.Host()
		return encrypted
	})
}

// Release is the release that --distribution stands for.
func (s Spec) Release() debian.Release { return s.release }

// Codename is the release's codename: "trixie" for stable in 2026.
func (s Spec) Codename() string { return s.release.Codename }

// Arch is the architecture to build for. Its slices belong to everyone: do not change them.
func (s Spec) Arch() debian.Arch { return s.arch }

// SerialDevice is the kernel's name of the console for --serial-console: "ttyS0".
func (s Spec) SerialDevice() string { return s.arch.Serial }

// HostArch is the architecture of this machine.
func (s Spec) HostArch() string { return s.w.HostArch }

// The words of --bootstrap.
const (
	bootstrapAuto = "auto"
	bootstrapReal = "debootstrap"
)

// BootstrapWords lists the values of --bootstrap: with the first, this program unpacks packages in the place of dpkg;
// with the second, debootstrap, apt and dpkg do everything themselves.
func BootstrapWords() []string { return []string{bootstrapAuto, bootstrapReal} }

// realDpkg reports whether the real dpkg unpacks all packages.
func (s Spec) realDpkg() bool { return s.o.Bootstrap == bootstrapReal }

// HasLoader reports whether the image gets a boot loader of ours.
func (s Spec) HasLoader() bool { return s.loader != boot.Loader(boot.None{}) }

// hasEssentialHooks reports whether something of the user's runs before packages are installed, and may have
// changed where they come from.
func (s Spec) hasEssentialHooks() bool {
	return slices.ContainsFunc(s.o.Actions, func(a Action) bool { return a.Phase == hooks.PhaseEssential })
}

// NeedsUEFI reports whether UEFI firmware starts the image, and a BIOS does not.
func (s Spec) NeedsUEFI() bool { return s.loader.UEFI() && !s.loader.BIOS() }

// UsesUBoot reports whether U-Boot starts the image.
func (s Spec) UsesUBoot() bool { return s.loader == boot.Loader(boot.UBoot{}) }

// NeedsEmulation reports whether this machine cannot itself run the programs it installs.
func (s Spec) NeedsEmulation() bool { return !s.arch.NativeOn(s.w.HostArch) }

// Warnings are sentences about what is allowed but seldom meant, to be shown before a build.
func (s Spec) Warnings() []string {
	var warnings []string
	if s.o.RootPassword.IsZero() && !s.o.LockRootPassword && !s.hasHash(rootUser) {
		warnings = append(warnings, "root can log in without a password: give --root-password or --lock-root-password")
	}
	for _, u := range s.o.Users {
		if u.Password.IsZero() && !s.hasHash(u.Name) {
			warnings = append(warnings, "user "+u.Name+" can log in without a password: give --user="+u.Name+
				"/PASSWORD")
		}
	}
	if !s.o.RootPassword.IsZero() && s.o.LockRootPassword {
		warnings = append(warnings, "--lock-root-password has no effect: --root-password is given as well")
	}
	if s.Trust().NoCheck {
		warnings = append(warnings, "--debootstrapopts no-check-gpg: nobody verifies who made the packages of "+
			s.o.Mirror.String()+"; that holds for this build alone: apt in the image asks for signatures again")
	}
	switch {
	case s.o.Foreign == "":
	case !s.NeedsEmulation():
		warnings = append(warnings, "--foreign has no effect: this machine runs programs of "+s.arch.Name+" itself")
	case s.foreignEmulator() == "":
		warnings = append(warnings,
			"--foreign: there is no "+s.o.Foreign+": the toolbox's own emulator runs programs of "+s.arch.Name)
	}
	warnings = append(warnings, s.containerfileWarnings()...)
	if s.o.Squash != "" && s.o.UseUEFI && !s.bootRequest().SignedEFI() {
		warnings = append(warnings, "--squash: "+s.release.Codename+" has no GRUB for "+s.arch.Name+
			" that is complete without grub-install: there will be no efi directory")
	}
	if s.o.Image != "" && !s.HasLoader() && s.o.Boot == "" && s.o.Extlinux {
		warnings = append(warnings,
			fmt.Sprintf("--image: nothing in it starts the kernel, because %s has no extlinux: "+
				"use %s--raw for a boot loader of your own, or --no-extlinux if that is meant", s.arch.Name,
				s.uefiLoaders()))
	}
	if s.o.Image == "" {
		for _, unused := range []struct {
			flag string
			set  bool
		}{
			{"--swap", s.o.Swap > 0}, {"--bootsize", s.o.Bootsize > 0}, {"--bootoffset", s.o.Bootoffset > 0},
			{"--grow", s.o.Grow}, {"--raw", len(s.o.Blobs) > 0},
		} {
			if unused.set {
				warnings = append(warnings, unused.flag+" has no effect without --image")
			}
		}
	}
	if s.o.LockFile != "" {
		for _, t := range s.mkfsTypes() {
			if why := t.Program.Differs; why != "" {
				warnings = append(warnings, lockFlag+": "+why)
			}
		}
	}
	if s.o.LockFile != "" && s.o.LUKS {
		warnings = append(warnings, lockFlag+": no two images with --luks are equal: the key of each is random")
	}
	if s.w.Locked != nil && s.w.Locked.Program != s.w.Program {
		warnings = append(warnings, lockFlag+": "+s.w.Locked.Program+" has written the lock, and this is "+s.w.Program+
			": the image can differ")
	}
	if s.release.EOL != "" && s.release.EOL < s.w.Today.UTC().Format(time.DateOnly) {
		warnings = append(warnings, s.release.Codename+" has had no security updates since "+s.release.EOL)
	}
	return warnings
}
