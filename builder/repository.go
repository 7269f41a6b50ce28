// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// The words of --pockets.
const (
	// PocketsNone stands for no pocket.
	PocketsNone     = "none"
	pocketUpdates   = "updates"
	pocketSecurity  = "security"
	pocketBackports = "backports"
)

// pocketWords are the pockets, in the order in which sources.list has them.
var pocketWords = []string{pocketUpdates, pocketSecurity, pocketBackports}

// PocketWords lists the values of --pockets.
func PocketWords() []string { return append([]string{PocketsNone}, pocketWords...) }

// Repository is a suite that apt has beside the one that debootstrap is given.
type Repository struct {
	URL        secret.URL
	Suite      string // "trixie-security"
	Components []string
	// Pocket is the word of --pockets for it; empty if it is one of --repository.
	Pocket string
	// Optional says that nobody asked for it: it is left out if it cannot be used.
	Optional bool
	// Keys are files of the host with the keys that may sign it; none if these are the keys of the mirror.
	Keys []string
}

// ParseRepositories reads the value of --repository, see archive.ParseSource: a repository for each URL and suite.
func ParseRepositories(text string) ([]Repository, error) {
	source, err := archive.ParseSource(text)
	if err != nil {
		return nil, err
	}
	var all []Repository
	for _, uri := range source.URIs {
		for _, suite := range source.Suites {
			all = append(all, Repository{URL: secret.NewURL(uri), Suite: suite, Components: source.Components,
				Keys: source.SignedBy})
		}
	}
	return all, nil
}

// String returns the line that ParseRepositories reads, without credentials.
func (r Repository) String() string {
	options := ""
	if len(r.Keys) > 0 {
		options = "[signed-by=" + strings.Join(r.Keys, ",") + "] "
	}
	return options + r.URL.String() + " " + r.Suite + " " + strings.Join(r.Components, " ")
}

// repositoryFlag returns the option that asks for a repository.
func (s Spec) repositoryFlag(r Repository) string {
	switch {
	case r.Pocket == "":
		return "--repository"
	case s.ofSnapshot():
		return snapshotFlag
	}
	return "--pockets"
}

// resolve makes the names of files absolute, and completes the repository with credentials and keys that it has not.
func (r Repository) resolve(o Options, w World) Repository {
	r.URL = withLogin(r.URL, w.Netrc)
	if len(r.Keys) == 0 {
		r.Keys = o.RepositoryKeys
	}
	r.Keys = slices.Clone(r.Keys)
	for i, name := range r.Keys {
		r.Keys[i] = w.absolute(name)
	}
	return r
}

// Repositories returns the suites that apt has besides that of a release, which the mirror calls codename: the pockets,
// then those of --repository.
func (s Spec) Repositories(codename string) []Repository {
	words, optional := packageNames(s.o.Pockets), false
	switch {
	case s.ofSnapshot():
		words = s.snapshotPockets()
	case len(words) == 0:
		words, optional = s.hostPockets(), s.w.Locked == nil
	}
	var all []Repository
	for _, word := range pocketWords {
		if !slices.Contains(words, word) {
			continue
		}
		r := Repository{URL: s.mirror(), Suite: codename + "-" + word, Components: components(s.o, s.release), Pocket: word,
			Optional: optional}
		if word == pocketSecurity {
			r.URL, r.Suite = s.securityMirror(), securitySuite(codename)
		}
		all = append(all, r)
	}
	return append(all, s.o.Repositories...)
}

// securitySuite returns the suite with the security updates of a release, which need not be in the table.
func securitySuite(codename string) string {
	if release, known := debian.LookupRelease(codename); known {
		return release.SecuritySuite()
	}
	return codename + "-" + pocketSecurity
}

// repositoriesKnown: the files of --repository-key and --apt-preferences are there, and are what they should be.
func repositoriesKnown(s Spec) []error {
	var problems []error
	for _, r := range s.o.Repositories {
		for _, name := range r.Keys {
			if _, err := s.w.Stat(name); err != nil {
				problems = append(problems, problem.New("--repository-key", "%w", err)...)
			}
		}
	}
	if len(s.o.RepositoryKeys) > 0 && len(s.o.Repositories) == 0 {
		problems = append(problems, problem.New("--repository-key", "it needs --repository")...)
	}
	if name := s.o.AptPreferences; name != "" {
		if _, err := s.w.Stat(name); err != nil {
			problems = append(problems, problem.New("--apt-preferences", "%w", err)...)
		}
	}
	return problems
}

// dpkgArchesKnown: --dpkg-arch names further architectures of Debian.
func dpkgArchesKnown(s Spec) []error {
	var problems []error
	for _, name := range packageNames(s.o.DpkgArches) {
		if name == s.o.Arch {
			problems = append(problems, problem.New("--dpkg-arch", "%s is that of --arch", name)...)
		} else if _, ok := debian.LookupArch(name); !ok {
			problems = append(problems, problem.New("--dpkg-arch", "%q is not an architecture of Debian%s", name,
				suggest.Question(name, Arches()))...)
		}
	}
	return problems
}

// hostPockets returns the pockets that a build has without --pockets: those of this machine, if the mirror is its own.
func (s Spec) hostPockets() []string {
	if !s.ownMirror || s.release.Vendor != debian.Debian || s.release.SecuritySuite() == "" {
		return nil
	}
	var words []string
	if s.w.HostUpdates {
		words = append(words, pocketUpdates)
	}
	if !s.w.HostSecurity.IsZero() || !s.o.SecurityMirror.IsZero() {
		words = append(words, pocketSecurity)
	}
	return words
}

// securityMirror returns the archive that has the security updates.
func (s Spec) securityMirror() secret.URL {
	switch {
	case s.ofSnapshot():
		return s.snapshot.Security
	case !s.o.SecurityMirror.IsZero():
		return s.o.SecurityMirror
	case s.release.Vendor == debian.Ubuntu:
		return s.o.Mirror
	case !s.w.HostSecurity.IsZero():
		return s.w.HostSecurity
	}
	return debianSecurity
}

// pocketsKnown: --pockets is a list of words, and the release has such suites.
func pocketsKnown(s Spec) []error {
	words := packageNames(s.o.Pockets)
	for _, word := range words {
		if !slices.Contains(PocketWords(), word) {
			return problem.New("--pockets", "unknown value %q; want one of %s%s", word, strings.Join(PocketWords(), ", "),
				suggest.Question(word, PocketWords()))
		}
	}
	none := slices.Contains(words, PocketsNone)
	switch {
	case none && len(words) > 1:
		return problem.New("--pockets", "%s excludes the others", PocketsNone)
	case len(words) > 0 && !none && s.release.Codename != "" && s.release.SecuritySuite() == "":
		return problem.New("--pockets", "%s has no suites of updates", s.release.Codename)
	case s.o.SecurityMirror.IsZero() || s.ofSnapshot() || slices.Contains(words, pocketSecurity) ||
		len(words) == 0 && s.ownMirror:
		return nil
	}
	return problem.New("--security-mirror", "it needs --pockets %s", pocketSecurity)
}

// foundRepository is a Repository with what its archive answers: its Release file, or an error.
type foundRepository struct {
	Repository
	release *archive.Release
	index   *archive.Index // of the packages for the image
	err     error
}

// askRepositories asks for the Release files of all repositories of a release at once.
func askRepositories(ctx context.Context, spec Spec, client *archive.Client, codename string,
	lock Lock) []foundRepository {
	all := spec.Repositories(codename)
	found := make([]foundRepository, len(all))
	var group sync.WaitGroup
	for i, r := range all {
		group.Go(func() {
			found[i] = foundRepository{Repository: r}
			mirrors := client
			if r.Pocket == "" {
				mirrors = outsideSnapshot(client)
			}
			own, err := r.client(mirrors, lock)
			if err == nil {
				found[i].release, err = own.Release(ctx, r.URL.Reveal(), r.Suite)
			}
			found[i].err = err
		})
	}
	group.Wait()
	return found
}

// client returns a client that trusts the keys of the repository, given that of the mirror.
func (r Repository) client(mirrors *archive.Client, lock Lock) (*archive.Client, error) {
	if len(r.Keys) == 0 {
		return mirrors, nil
	}
	own := *mirrors
	own.Keyring, own.UserKeyring, own.NoCheck = nil, true, false
	for _, name := range r.Keys {
		data, err := os.ReadFile(lock.Copy(name))
		if err != nil {
			return nil, err
		}
		keys, err := archive.ReadKeyring(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		own.Keyring = append(own.Keyring, keys...)
	}
	return &own, nil
}

// RepositoryError says that a repository cannot be used.
type RepositoryError struct {
	Flag, Suite string
	Err         error
}

func (e *RepositoryError) Error() string {
	return fmt.Sprintf("%s: look up suite %s: %v", e.Flag, e.Suite, e.Err)
}

func (e *RepositoryError) Unwrap() error { return e.Err }

// addRepositories completes the Lock and the Sources with what the archives have of the repositories. src has the main
// suite.
func addRepositories(ctx context.Context, spec Spec, client *archive.Client, all []foundRepository, lock *Lock,
	src *Sources) error {
	automatic := []*archive.Index{src.Main}
	var others []*archive.Index
	lock.Repositories = make([]string, len(all))
	if err := readForeignIndexes(ctx, client, spec, src.Release, components(spec.o, spec.release)); err != nil {
		return fmt.Errorf("--dpkg-arch: %w", err)
	}
	for i, r := range all {
		if r.err == nil {
			r.index, r.err = readIndexes(ctx, client, r.release, r.Components, spec.o.Arch)
		}
		if r.err == nil {
			if err := readForeignIndexes(ctx, client, spec, r.release, r.Components); !errors.Is(err, fs.ErrNotExist) {
				r.err = err // a repository need not have each architecture
			}
		}
		switch {
		case r.err == nil:
		case r.Optional && ctx.Err() == nil:
			// Whatever is wrong there, a build worked without it before, and the user reads why it is left out.
			src.LeftOut = append(src.LeftOut, fmt.Errorf("without %s: %w", r.Suite, r.err))
			continue
		default:
			return &RepositoryError{spec.repositoryFlag(r.Repository), r.Suite, r.err}
		}
		lock.Repositories[i] = r.release.Digest
		src.Repositories = append(src.Repositories, r)
		if r.release.NotAutomatic {
			others = append(others, r.index)
		} else {
			automatic = append(automatic, r.index)
		}
	}
	var err error
	if src.Target, err = archive.Merge(automatic...); err != nil || len(others) == 0 {
		return err
	}
	// apt takes from the others what is nowhere else.
	packages := slices.Collect(src.Target.All())
	for _, index := range others {
		for p := range index.All() {
			if src.Target.Lookup(p.Name) == nil {
				packages = append(packages, p)
			}
		}
	}
	src.Target, err = archive.NewIndex(packages...)
	return err
}

// readForeignIndexes has the cache hold the indexes of a suite for the architectures of --dpkg-arch, for apt.
func readForeignIndexes(ctx context.Context, client *archive.Client, spec Spec, r *archive.Release,
	components []string) error {
	for _, arch := range packageNames(spec.o.DpkgArches) {
		for _, component := range components {
			if _, err := client.Packages(ctx, r, component, arch); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveLists writes the files of suites that apt reads without asking a mirror into dir: those of the repositories, and
// with --dpkg-arch those of the main suite.
func saveLists(ctx context.Context, spec Spec, client *archive.Client, src Sources, dir string) error {
	save := func(r *archive.Release, name string, components, arches []string) error {
		for _, arch := range arches {
			if err := client.SaveSuite(ctx, r, filepath.Join(dir, name), components, arch); err != nil {
				return fmt.Errorf("save suite %s for apt: %w", r.Name, err)
			}
		}
		return nil
	}
	foreign := packageNames(spec.o.DpkgArches)
	if err := save(src.Release, step.MainLists, components(spec.o, spec.release), foreign); err != nil {
		return err
	}
	for i, r := range src.Repositories {
		if err := save(r.release, strconv.Itoa(i), r.Components, append([]string{spec.o.Arch}, foreign...)); err != nil {
			return err
		}
	}
	return nil
}

// newUpgradeStep returns the step that gives apt the repositories; ok is false if there are none.
func newUpgradeStep(spec Spec, lock Lock) (u step.Upgrade, ok bool) {
	for i, r := range spec.Repositories(lock.codename(spec)) {
		digest := ""
		if lock.Repositories != nil {
			if digest = lock.Repositories[i]; digest == "" {
				continue // left out
			}
		}
		suite := step.AptSuite{
			AptSource: step.AptSource{URI: withoutSlash(r.URL.Bare()), Suite: r.Suite, Components: r.Components},
			InRelease: digest, Added: r.Pocket == "",
		}
		for _, name := range r.Keys {
			suite.Keys = append(suite.Keys, lock.Copy(name))
			suite.KeyDigests = append(suite.KeyDigests, lock.inputDigest(name))
		}
		u.Suites = append(u.Suites, suite)
	}
	return u, len(u.Suites) > 0
}

// withoutSlash returns a URL without the slashes at its end.
func withoutSlash(u secret.URL) secret.URL { return secret.NewURL(strings.TrimRight(u.Reveal(), "/")) }
