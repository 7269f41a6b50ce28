// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"debug/elf"
	"io"
	"io/fs"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/stepversion"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// The root file system under construction, see package target.
type (
	// Target is a root file system in which programs can run.
	Target = target.Target
	// Files are its files.
	Files = target.Files
	// Rootfs is a Target that can be kept, and thrown away.
	Rootfs = target.Rootfs
)

// Flatten returns the parts of joined errors, at any depth, each of which is a mistake of its own.
func Flatten(err error) []error { return problem.Flatten(err) }

// IDError says that an account of the target has an id that files cannot belong to here.
type IDError = step.IDError

// Engine makes root file systems and keeps snapshots of them.
type Engine interface {
	snapshot.Engine
	// Emulate has every Run from now on start foreign programs, told by Class, Data and Machine of their ELF
	// header, under interpreter: a static program of this machine, named by its path on the host. An empty
	// name ends that. Where the host does not allow it, Run gives an error that wraps errors.ErrUnsupported.
	Emulate(header elf.FileHeader, interpreter string)
	// Unpack makes a directory of a tar archive, with owners as in the root file systems of this engine; the
	// directory must not exist, nor does it after an error.
	Unpack(ctx context.Context, archive io.Reader, dir string) error
}

// What callers of this package name of the rooms below it.
type (
	// Problem is one mistake in the Options.
	Problem = problem.Problem
	// Secret is a text that must not be seen.
	Secret = secret.Text
	// URL is a URL that may hold credentials.
	URL = secret.URL
	// User is one account that --user asks for.
	User = step.User
	// Step is one action on the root file system.
	Step = step.Step
	// StepError says which step failed.
	StepError = step.Error
	// Cache says how a build uses snapshots of earlier ones.
	Cache = snapshot.Settings
	// CacheKey signs snapshots that are shared, and checks those of others.
	CacheKey = snapshot.Key
	// Remote is a place at which machines share snapshots.
	Remote = snapshot.Remote
)

// StepVersions returns Cache.Version for a program that is built with an engine from these sources, and with these
// libraries.
func StepVersions(engine fs.FS, libraries []string) (func(kind string) string, error) {
	v, err := stepversion.New(map[string]fs.FS{
		"builder": SourceCode, "diskimage": diskimage.SourceCode, "hooks": hooks.SourceCode, "oci": engine,
	}, libraries)
	return v.Of, err
}

// NewSecret keeps a text that must not be seen.
func NewSecret(text string) Secret { return secret.New(text) }

// HidesSecret reports whether a printed value of an option has a placeholder for a secret, or hides credentials of a
// URL.
func HidesSecret(text string) bool {
	return strings.Contains(text, secret.Hidden) || strings.Contains(text, archive.HiddenUser)
}

// NewURL keeps a text that should be a URL.
func NewURL(text string) URL { return secret.NewURL(text) }

// ParseUser reads NAME or NAME/PASSWORD; the password begins after the first slash and may hold others.
func ParseUser(text string) User { return step.ParseUser(text) }

// BootLoaders lists the values of --boot.
func BootLoaders() []string { return boot.Words() }

// Suites lists the values of --distribution: names like stable, then codenames, the newest first.
func Suites() []string { return debian.Suites() }

// Arches lists the values of --arch.
func Arches() []string {
	var names []string
	for _, a := range debian.Arches() {
		names = append(names, a.Name)
	}
	return names
}

// ParseCacheKey reads an ed25519 key, private or public. Its errors show nothing of it.
func ParseCacheKey(data []byte) (*CacheKey, error) { return snapshot.ParseKey(data) }

// ParseRemote reads a place of --cache-from and --cache-to.
func ParseRemote(text string) (Remote, error) { return snapshot.ParseRemote(text) }

// RemoteForms lists what such a place looks like.
func RemoteForms() string { return snapshot.RemoteForms() }

// SnapshotTitle describes a snapshot to users: what was done last in it.
func SnapshotTitle(s types.Snapshot) string { return snapshot.Title(s) }

// LeastRecentlyUsed names the snapshots to remove so that the others take no more than limit.
func LeastRecentlyUsed(all []types.Snapshot, limit diskimage.Size) []string {
	return snapshot.LeastRecentlyUsed(all, limit)
}
