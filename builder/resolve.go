// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// Sources are the package lists that a build chooses from.
type Sources struct {
	// Target is what the mirror and the other repositories have for the image, Main what the suite has that debootstrap
	// is given.
	Target, Main *archive.Index
	// Toolbox is what tools are taken from, see toolSources. They run on the host, so they are of its architecture.
	Toolbox *archive.Index
	// ToolboxSuite is the codename of the release that the tools come from.
	ToolboxSuite string
	// Release is that of the image's suite, whose signature was checked.
	Release *archive.Release
	// ToolsRelease is that of the suite that the tools come from, and ToolsMirror its mirror.
	ToolsRelease *archive.Release
	ToolsMirror  secret.URL
	// Repositories are those of Spec.Repositories that are used. LeftOut says why others are not.
	Repositories []foundRepository
	LeftOut      []error
}

// Resolve is the first step of the Executor's work, and does what the function Resolve does.
func (x *Executor) Resolve(ctx context.Context, spec Spec, lock Lock) (Lock, Sources, error) {
	x.Progress.Begin(readLists)
	lock, src, err := Resolve(ctx, spec, x.Archive, lock)
	for _, why := range src.LeftOut {
		x.Progress.Warn(why.Error())
	}
	for _, r := range src.Repositories {
		x.Progress.Message(fmt.Sprintf("use %s of %s, which is of %s", r.Suite, r.URL, r.release.Date.Format(time.DateOnly)))
	}
	return lock, src, err
}

// Resolve asks the mirror what the build depends on, and completes a Lock that holds the caller's own choices, seed and
// time, and what Take has taken. It is the only place, beside the downloads of the Executor, that uses the network.
func Resolve(ctx context.Context, spec Spec, client *archive.Client, lock Lock) (Lock, Sources, error) {
	o := spec.Options()
	asking, stop := context.WithCancel(ctx)
	answers := make(chan []foundRepository, 1)
	go func() { answers <- askRepositories(asking, spec, client, spec.Codename(), lock) }()
	var repositories []foundRepository
	answered := sync.OnceFunc(func() { repositories = <-answers })
	defer answered()
	defer stop()
	release, err := client.Release(ctx, spec.mirror().Reveal(), o.Distribution)
	if errors.Is(err, fs.ErrNotExist) && spec.ownScripts() == "" && spec.Codename() != o.Distribution {
		// A mirror of one suite need not have stable and the like; which release that is, the table tells.
		if named, namedErr := client.Release(ctx, spec.mirror().Reveal(), spec.Codename()); namedErr == nil {
			release, err, lock.Suite = named, nil, spec.Codename()
		}
	}
	if err != nil {
		return Lock{}, Sources{}, spec.absent(fmt.Errorf("look up suite %s: %w", o.Distribution, err))
	}
	if err := spec.checkAlias(release); err != nil {
		return Lock{}, Sources{}, err
	}
	if lock.Suite == "" {
		if own := spec.byCodename(ctx, client, release); own != nil {
			release, lock.Suite = own, own.Codename
		}
	}
	lock.Codename, lock.InRelease = release.Codename, release.Digest

	src := Sources{Release: release}
	if src.Main, err = readIndexes(ctx, client, release, components(o, spec.Release()), o.Arch); err != nil {
		return Lock{}, Sources{}, spec.absent(err)
	}
	if answered(); release.Codename != spec.Codename() {
		repositories = askRepositories(ctx, spec, client, lock.codename(spec), lock)
	}
	if err := addRepositories(ctx, spec, client, repositories, &lock, &src); err != nil {
		return Lock{}, Sources{}, err
	}
	tools, err := spec.findTools(ctx, client, &src)
	if err != nil {
		return Lock{}, Sources{}, err
	}
	lock.Tools, src.ToolsRelease = tools.Digest, tools
	return lock, src, nil
}

// byCodename returns a release by its codename that --distribution names otherwise, such as stable: an image
// whose sources.list says stable becomes another release one day. It returns nil if the mirror does not have
// it by that name, or an older state of it, and if the user's own scripts, which debootstrap chooses by the
// name, may not know it.
func (s Spec) byCodename(ctx context.Context, client *archive.Client, release *archive.Release) *archive.Release {
	if release.Codename == "" || release.Codename == s.o.Distribution || s.ownScripts() != "" {
		return nil
	}
	own, err := client.Release(ctx, s.mirror().Reveal(), release.Codename)
	if err != nil || own.Codename != release.Codename || own.Date.Before(release.Date) {
		return nil
	}
	return own
}

// AbsentError says that a mirror lacks the suite of a build or its architecture, and which one should have it.
type AbsentError struct {
	Err    error
	Mirror string
}

func (e *AbsentError) Error() string { return e.Err.Error() }

func (e *AbsentError) Unwrap() error { return e.Err }

// absent returns err, as an AbsentError if another of Ubuntu's archives has what the mirror lacks: the releases that
// are no longer supported, and all architectures but those of PCs, have archives of their own.
func (s Spec) absent(err error) error {
	if !errors.Is(err, fs.ErrNotExist) || s.release.Vendor != debian.Ubuntu {
		return err
	}
	usual := s.defaultMirror()
	if usual == withoutSlash(s.o.Mirror) {
		return err
	}
	return &AbsentError{err, usual.Reveal()}
}

// components are those that debootstrap will use.
func components(o Options, r debian.Release) []string {
	options, _ := step.DebootstrapOptions(o.Debootstrapopts)
	if value, set := step.DebootstrapOption(options, "components"); set {
		return packageNames([]string{value})
	}
	return r.Components()
}

func readIndexes(ctx context.Context, client *archive.Client, r *archive.Release, components []string,
	arch string) (*archive.Index, error) {
	var indexes []*archive.Index
	for _, component := range components {
		index, err := client.Packages(ctx, r, component, arch)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("--arch %s: %w", arch, err)
		}
		if err != nil {
			return nil, err
		}
		indexes = append(indexes, index)
	}
	if len(indexes) == 1 {
		return indexes[0], nil
	}
	return archive.Merge(indexes...)
}

// ownScripts is the directory of debootstrap's scripts if it is not debootstrap's own.
func (s Spec) ownScripts() string {
	if s.o.DebootstrapScripts == step.DefaultScripts {
		return ""
	}
	return s.w.absolute(s.o.DebootstrapScripts)
}

// Trust says how the archive's signature is checked: --debootstrapopts rules it for debootstrap, and so for all of the
// build.
type Trust struct {
	// Keyring is the absolute name of a file of public keys; empty for Debian's own.
	Keyring string
	// NoCheck takes an archive without a signature.
	NoCheck bool
}

// Trust returns what the Spec says of the archive's signature.
func (s Spec) Trust() Trust {
	options, keyring := step.DebootstrapOptions(s.o.Debootstrapopts)
	noCheck := slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(o, "--no-check-gpg") || o == "--no-check-sig"
	})
	if keyring != "" {
		keyring = s.w.absolute(keyring)
	}
	return Trust{Keyring: keyring, NoCheck: noCheck}
}

// AliasError says that a mirror's "stable", or another name that moves, is an older release than today's: the files of
// that release are signed by its keys, so that nothing else tells of a mirror that stands still or pretends to.
type AliasError struct {
	Alias, Mirror string
	// Codename is the release that the mirror names, Want the one of the day.
	Codename, Want string
}

func (e *AliasError) Error() string {
	return fmt.Sprintf("--distribution %s: it is %s by now, and %s answers with %s, which is older", e.Alias, e.Want,
		e.Mirror, e.Codename)
}

// checkAlias compares the release that a mirror has for an alias with the one that the day and the table of
// releases tell. One that the table does not know is newer.
func (s Spec) checkAlias(r *archive.Release) error {
	answer, known := debian.LookupRelease(r.Codename)
	if s.o.Distribution == s.release.Codename || !known || answer.Vendor != s.release.Vendor ||
		answer.Created >= s.release.Created {
		return nil
	}
	return &AliasError{s.o.Distribution, s.mirror().String(), answer.Codename, s.release.Codename}
}

// writeKeyring writes the keys that may sign the suite into a file, for debootstrap's gpgv, which would otherwise take
// every key that the tools' release knows.
func writeKeyring(name string, r *archive.Release) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.WriteKeyring(f)
}
