// SPDX-License-Identifier: Apache-2.0

// Package stepversion identifies the code that makes the result of a step. The cache uses results of an earlier version
// of the program if that code is the same: an upgrade makes only those steps run again that it changes.
//
// The code is known by its source: what counts is the whole text of every file, comments included, and the versions of
// Go and of the libraries. All steps share it, but for the files of package step that only some of them use, see
// ownFiles. Files in notCounted decide no result. A new file counts until it is in one of these lists; tests compare
// both with the sources.
package stepversion

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// StepDir is the directory of the files in ownFiles, in the repository.
const StepDir = "builder/internal/step"

// ownFiles are files of StepDir that only steps of these kinds use, themselves or through another file of the table.
// The bootstrap is the first step of every build: nothing is gained by files of its own.
var ownFiles = map[string][]string{
	"accounts.go":            {"root.password", "user"},
	"action.go":              {"command", "copy"},
	"apt.go":                 aptKinds, // keeps daemons from starting, and diverts programs
	"clean.go":               {"clean"},
	"cloudinit.go":           {"cloud-init"},
	"containerfile.go":       containerKinds,
	"containerfile_copy.go":  containerKinds,
	"containerfile_mount.go": containerKinds,
	"environ.go":             append([]string{"command", "copy", "hook"}, containerKinds...),
	"extlinux.go":            {"extlinux"},
	"grow.go":                {"grow"},
	// answers for grub-probe
	"grub.go":             append([]string{"grub", "command", "copy", "hook"}, containerKinds...),
	"hook.go":             {"hook"},
	"identity.go":         {"hostname", "fstab", "udev.rules", "mounted", "unmounted"}, // entries of fstab
	"initramfs.go":        aptKinds,
	"initramfs_search.go": aptKinds,
	"locale.go":           {"timezone", "locale", "keymap"},
	"login.go":            {"ssh.keys", "password.hash"},
	"machineid.go":        {"machine-id", "clean"},
	"mounted.go":          {"mounted", "unmounted"},
	"network.go":          {"network", "network.one"},
	"overlay.go":          {"overlay"},
	"sources.go":          {"apt.sources", "inittab", "apt.upgrade", "apt.preferences", "dpkg.architectures"},
	"systemdboot.go":      {"systemd-boot", "extlinux", "u-boot"}, // arguments of the kernel
	"sysupdate.go":        {"sysupdate"},
	"tools.go":            nil, // for the file systems of the outputs
	"uboot.go":            {"u-boot"},
	"upgrade.go":          {"apt.upgrade", "apt.preferences", "dpkg.architectures"},
	"verity.go":           {"verity"},
}

// containerKinds are the instructions of Containerfiles.
var containerKinds = []string{"container.run", "container.workdir", "container.copy", "container.base"}

// aptKinds are the steps that install packages in the target, run the user's programs there, or divert programs.
var aptKinds = []string{
	"apt.install", "custom.packages", "command", "copy", "hook", "grub", "initramfs", "fsck", "mounted", "unmounted",
	"container.run", "container.workdir", "container.copy", "container.base",
	"apt.upgrade", "apt.preferences", "dpkg.architectures",
}

// notCounted are patterns of files that decide no result of a step: they decide which steps there are, whose data has
// digests of its own, or write the outputs from what the last step has left.
var notCounted = []string{
	// Options and rules end in the data of the steps.
	"builder/ab.go", "builder/options.go", "builder/containerfile*.go", "builder/devicetree.go", "builder/rules*.go",
	"builder/disk.go",
	// Outputs are written from the root file system.
	"builder/assemble*.go", "builder/blob.go", "builder/describe.go", "builder/export*.go", "builder/image*.go",
	"builder/output.go", "builder/squash.go",
	"diskimage/claim.go", "diskimage/filesystem.go", "diskimage/layout.go", "diskimage/partial.go",
	"diskimage/parttype.go", "diskimage/readtable.go", "diskimage/table.go", "diskimage/write.go",
	// Messages, what a build needs room for, and what it expects apt to choose.
	"builder/chosen.go", "builder/installs.go", "builder/space.go",
}

// Versions has the versions of steps.
type Versions struct {
	shared string
	own    map[string]string // by kind
}

// New returns the versions for the sources in directories of the repository, by their names. libraries describe what
// else the program is built from.
func New(sources map[string]fs.FS, libraries []string) (Versions, error) {
	shared, own := sha256.New(), map[string]hash.Hash{}
	for _, library := range libraries {
		fmt.Fprintf(shared, "%d:%s", len(library), library)
	}
	add := func(name string, text []byte) {
		into := []hash.Hash{shared}
		if kinds, ok := ownFiles[path.Base(name)]; ok && path.Dir(name) == StepDir {
			into = nil
			for _, kind := range kinds {
				if own[kind] == nil {
					own[kind] = sha256.New()
				}
				into = append(into, own[kind])
			}
		}
		for _, h := range into {
			fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(text), text)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(sources)) {
		err := fs.WalkDir(sources[dir], ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !counts(path.Join(dir, name)) {
				return err
			}
			text, err := fs.ReadFile(sources[dir], name)
			if err == nil {
				add(path.Join(dir, name), text)
			}
			return err
		})
		if err != nil {
			return Versions{}, fmt.Errorf("digest of the sources in %s: %w", dir, err)
		}
	}
	v := Versions{shared: sum(shared), own: map[string]string{}}
	for kind, h := range own {
		v.own[kind] = sum(h)
	}
	return v, nil
}

// Of returns the version of the steps of a kind.
func (v Versions) Of(kind string) string { return v.shared + v.own[kind] }

// counts reports whether a file can decide the result of a step.
func counts(name string) bool {
	return !strings.HasSuffix(name, "_test.go") && !slices.ContainsFunc(notCounted, func(pattern string) bool {
		matches, err := path.Match(pattern, name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return matches
	})
}

// sum returns a digest in hexadecimal: 128 bits tell the versions of one program apart.
func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:16]) }
