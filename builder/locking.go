// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/dpkgdb"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

// lockFlag is the option of lock files, for messages.
const lockFlag = "--lock-file"

// followLock takes from a lock file what the world answers otherwise: the day, and mirrors that no option names.
func (s *Spec) followLock() {
	locked := s.w.Locked
	if locked == nil {
		return
	}
	s.w.Today = locked.Made
	image, _ := locked.Suite(lockfile.UseImage)
	if lockHasSnapshot(locked) {
		return // the mirror is that of the image alone
	}
	if s.o.Mirror.IsZero() {
		s.o.Mirror = secret.NewURL(image.Mirror)
		// The pockets that were this machine's, if no option named them.
		s.ownMirror = true
		s.w.HostUpdates, s.w.HostSecurity = false, secret.URL{}
		for _, suite := range locked.Suites {
			switch suite.Suite {
			case image.Codename + "-" + pocketUpdates:
				s.w.HostUpdates = true
			case securitySuite(image.Codename):
				s.w.HostSecurity = withLogin(secret.NewURL(suite.Mirror), s.w.Netrc)
			}
		}
	}
	tools, ok := locked.Suite(lockfile.UseTools)
	if ok && s.o.ToolsMirror.IsZero() && tools.Mirror != image.Mirror {
		s.o.ToolsMirror = secret.NewURL(tools.Mirror)
	}
}

// States are the states of suites that the build may read: those of its lock file, or all, which are recorded if a lock
// file is to be written.
func (s Spec) States() *archive.States {
	if s.w.Locked == nil {
		return archive.NewStates()
	}
	var all []archive.State
	for _, suite := range s.w.Locked.Suites {
		state := archive.State{Mirror: suite.Mirror, Suite: suite.Suite, Codename: suite.Codename, Date: suite.Date,
			SignedBy: suite.SignedBy}
		for _, f := range suite.Files {
			state.Files = append(state.Files, archive.StateFile{Name: f.Name, SHA256: f.SHA256})
		}
		all = append(all, state)
	}
	return archive.FixedStates(all)
}

// CheckInputs returns an error for each file of the user that is not the one of the lock file, if there is one.
func (l Lock) CheckInputs(spec Spec) error {
	if spec.w.Locked == nil {
		return nil
	}
	var problems []error
	differ := func(format string, args ...any) {
		problems = append(problems, problem.New(lockFlag, format, args...)...)
	}
	locked := spec.w.Locked.Inputs
	inputs := spec.lockedInputs(l)
	for i := range max(len(inputs), len(locked)) {
		switch {
		case i >= len(locked):
			differ("%s %s is not in the lock", inputs[i].Option, inputs[i].Name)
		case i >= len(inputs):
			differ("%s %s of the lock is missing", locked[i].Option, locked[i].Name)
		case inputs[i].Option != locked[i].Option || inputs[i].Name != locked[i].Name:
			differ("%s %s is in the place of %s %s of the lock", inputs[i].Option, inputs[i].Name, locked[i].Option,
				locked[i].Name)
		case inputs[i].SHA256 != locked[i].SHA256:
			differ("%s %s is not that of the lock: digest mismatch: want %s, got %s", inputs[i].Option, inputs[i].Name,
				locked[i].SHA256, inputs[i].SHA256)
		}
	}
	return errors.Join(problems...)
}

// lockedInputs are the inputs of a build as lock files name them.
func (s Spec) lockedInputs(l Lock) []lockfile.Input {
	inputs := []lockfile.Input{}
	for _, input := range l.Inputs {
		inputs = append(inputs, lockfile.Input{Option: input.Flag, Name: s.inputName(input.Name), SHA256: input.Digest})
	}
	return inputs
}

// lockedPackages returns the packages of the lock file that the index has and known lacks, such as those that hooks
// install: apt may no longer find them at the mirror.
func (s Spec) lockedPackages(index *archive.Index, known []*archive.Package) []*archive.Package {
	if s.w.Locked == nil {
		return nil
	}
	var all []*archive.Package
	for _, locked := range s.w.Locked.Packages {
		p := index.Lookup(locked.Name)
		if p != nil && p.SHA256 == locked.SHA256 && !slices.Contains(known, p) {
			all = append(all, p)
		}
	}
	return all
}

// PackagesError says that a system has other packages than the lock file.
type PackagesError struct {
	// Differences are sentences, one for each package.
	Differences []string
}

func (e *PackagesError) Error() string {
	const shown = 5
	text := strings.Join(e.Differences[:min(shown, len(e.Differences))], "; ")
	if more := len(e.Differences) - shown; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return lockFlag + ": the system has other packages than the lock: " + text
}

// checkPackages compares the packages of the finished system with those of the lock file, if there is one. They differ
// if settings differ, or if a hook installs packages from an archive that the lock does not know.
func (r *Result) checkPackages() error {
	locked := r.spec.w.Locked
	if locked == nil {
		return nil
	}
	stanzas, err := readDpkgStatus(r.Rootfs)
	if err != nil {
		return err
	}
	got, want := map[string]string{}, map[string]string{}
	for _, s := range stanzas {
		if dpkgdb.Installed(s) {
			got[s.Get("Package")+" "+s.Get("Architecture")] = s.Get("Version")
		}
	}
	for _, p := range locked.Packages {
		want[p.Name+" "+p.Architecture] = p.Version
	}
	failure := &PackagesError{}
	for name, version := range want {
		switch other, ok := got[name]; {
		case !ok:
			failure.Differences = append(failure.Differences, fmt.Sprintf("%s %s is missing", name, version))
		case other != version:
			failure.Differences = append(failure.Differences, fmt.Sprintf("%s is %s instead of %s", name, other, version))
		}
	}
	for name, version := range got {
		if _, ok := want[name]; !ok {
			failure.Differences = append(failure.Differences, fmt.Sprintf("%s %s is not in it", name, version))
		}
	}
	if len(failure.Differences) == 0 {
		return nil
	}
	slices.Sort(failure.Differences)
	return failure
}

// lockFile is the lock of the finished build.
func (r *Result) lockFile(m manifest.Manifest) (lockfile.File, error) {
	f := lockfile.File{
		Schema: lockfile.Schema, Program: r.x.Version, Made: r.spec.clock.UTC().Truncate(time.Second),
		Time: r.lock.Time.UTC(), Seed: r.lock.Seed, Settings: r.x.Settings,
		Hidden: r.x.HiddenSettings, Inputs: r.spec.lockedInputs(r.lock),
		Suites: []lockfile.Suite{},
	}
	states := r.x.Archive.States.All()
	slices.SortStableFunc(states, func(a, b archive.State) int { // several are read at once
		return cmp.Or(cmp.Compare(a.Suite, b.Suite), cmp.Compare(a.Mirror, b.Mirror))
	})
	for _, state := range states {
		suite := lockfile.Suite{Mirror: state.Mirror, Suite: state.Suite, Codename: state.Codename, Date: state.Date,
			SignedBy: state.SignedBy}
		for _, file := range state.Files {
			suite.Files = append(suite.Files, lockfile.Digest{Name: file.Name, SHA256: file.SHA256})
		}
		if state.Files[0].SHA256 == r.sources.Release.Digest && state.Suite == r.sources.Release.Name {
			suite.Use = append(suite.Use, lockfile.UseImage)
		}
		if state.Files[0].SHA256 == r.sources.ToolsRelease.Digest && state.Suite == r.sources.ToolsRelease.Name {
			suite.Use = append(suite.Use, lockfile.UseTools)
		}
		f.Suites = append(f.Suites, suite)
	}
	tools, err := r.spec.toolboxContent(r.sources)
	if err != nil {
		return f, err
	}
	mirror := strings.TrimSuffix(r.sources.ToolsMirror.Bare().String(), "/")
	for _, p := range tools.packages {
		f.Tools = append(f.Tools, lockfile.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture,
			SHA256: p.SHA256, From: mirror + "/" + p.Filename})
	}
	for _, p := range m.Packages {
		locked := lockfile.Package{Name: p.Name, Version: p.Version, Architecture: p.Architecture, SHA256: p.SHA256}
		if p.Origin != nil {
			locked.From = p.Origin.URL + p.Origin.File
		}
		f.Packages = append(f.Packages, locked)
	}
	return f, nil
}
