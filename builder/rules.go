// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// rules are what a Spec must keep, in the order in which vmdebootstrap 1.7 looked (table A.4 of the specification),
// then those it left to chance. Each gives the mistakes it found. A rule that compares two settings is silent when one
// of them is wrong by itself: that has a rule of its own.
var rules = []func(Spec) []error{
	squashExcludesImage,
	someOutput,
	sizeIsEnough,
	aptMirrorNeedsConfigureApt,
	qcow2NeedsImage,
	tarballExcludesOthers,
	oldNamesNeedInitramfs,
	wheezyBootsNoExt4,
	bootLargeEnough,
	readOnlyNeedsInitramfs,
	espNeedsUEFI,
	arm64NeedsUEFI,
	uefiArch,
	uefiExcludesBoot,
	uefiNeedsGrub,
	wheezyUEFI,

	outputLocation,
	partitionsFit,
	filesystemTypes,
	partitionTable,
	bootFlagKnown,
	bootKnown, bootstrapKnown,
	bootAgrees,
	loaderNeedsBIOS,
	loaderFits,
	bootMountFits, deviceTreeKnown,
	debootstrapMakesASystem,
	mirrorURLs,
	snapshotFits, pocketsKnown, repositoriesKnown, dpkgArchesKnown,
	authorities,
	packageSyntax,
	archOfRelease,
	kernelExists,
	emulatorExists,
	foreignProgram,
	localPackages,
	imageHooksNeedImage,
	hostnameSyntax,
	userSyntax,
	passwordsWritten,
	passwordHashes, sshKeysRead, localeKnown, cloudInitKnown,
	ownerIsPossible,
	formatsKnown,
	freeNeedsAuto,
	sectorSizeBoots,
	growPossible,
	isoPossible,
	luksPossible,
	verityPossible, secureBootPossible, abPossible,
	blobFiles,
	exportCompressionKnown,
	exportDestinations,
	descriptionFiles,
}

// findArch looks the architecture up.
func findArch(o Options, problems []error) (debian.Arch, []error) {
	arch, ok := debian.LookupArch(o.Arch)
	if !ok {
		problems = append(problems, problem.New("--arch", "%q is not an architecture of Debian%s", o.Arch,
			suggest.Question(o.Arch, Arches()))...)
	}
	return arch, problems
}

// findRelease looks the suite up. With a directory of debootstrap scripts other than the usual one, every suite that
// has a script there is good; it is then taken for a Debian release newer than all known ones, as is an unknown suite,
// so that the rules after this one say nothing about it.
func findRelease(o Options, w World, problems []error) (debian.Release, []error) {
	release, ok := debian.LookupSuite(o.Distribution, w.Today)
	if !ok {
		release = debian.UnknownRelease(o.Distribution)
	}
	if o.DebootstrapScripts != step.DefaultScripts {
		script := filepath.Join(o.DebootstrapScripts, o.Distribution)
		info, err := w.Stat(script)
		switch {
		case err != nil:
			problems = append(problems, problem.New("--debootstrap-scripts", "no script for --distribution=%s: %w",
				o.Distribution, err)...)
		case !info.Mode().IsRegular():
			problems = append(problems, problem.New("--debootstrap-scripts", "%q is not a file", script)...)
		}
	} else if !ok {
		problems = append(problems, problem.New("--distribution",
			"%q is not a valid Debian or Ubuntu suite or codename%s", o.Distribution, suiteQuestion(o.Distribution))...)
	}
	return release, problems
}

// suiteQuestion asks for the codename of the release with the version that was given, or for a name near it.
func suiteQuestion(name string) string {
	for _, vendor := range []debian.Vendor{debian.Debian, debian.Ubuntu} {
		if release, known := debian.ReleaseOf(string(vendor), "", name); known {
			return " (did you mean " + release.Codename + "?)"
		}
	}
	return suggest.Question(name, debian.Suites())
}

// resolveActions turns the names of host files into absolute paths.
func resolveActions(o Options, w World, problems []error) ([]Action, []error) {
	var found []Action
	for _, action := range o.Actions {
		action, err := action.resolve(w)
		if err != nil {
			problems = append(problems, &problem.Problem{Flag: action.Flag(), Err: err})
			continue
		}
		found = append(found, action)
	}
	return found, problems
}

func imageHooksNeedImage(s Spec) []error {
	if s.o.Image == "" && len(s.ImageHooks()) > 0 {
		return problem.New("--hook", "a script of the phase image needs --image")
	}
	return nil
}

// outputLocation holds for whatever is written: its directory is there, and nothing is in its way that is not a file
// (with --squash: a directory) of an earlier build.
func outputLocation(s Spec) []error {
	var problems []error
	check := func(flag, name string, replaceable func(fs.FileInfo) bool, kind string) {
		if name == "" || name == StandardOutput && flag == "--tarball" {
			return
		}
		if err := s.outputDirectory(name); err != nil {
			problems = append(problems, &problem.Problem{Flag: flag, Err: err})
			return
		}
		info, err := s.w.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			problems = append(problems, &problem.Problem{Flag: flag, Err: err})
		case !replaceable(info):
			problems = append(problems, problem.New(flag, "%q is there already and is not a %s", name, kind)...)
		}
	}
	isFile := func(info fs.FileInfo) bool { return info.Mode().IsRegular() }
	for _, f := range imageFiles(s.o) {
		check("--image", f.Name, isFile, "regular file")
	}
	check("--bmap", blockMapName(s.o), isFile, "regular file")
	check("--tarball", s.o.Tarball, isFile, "regular file")
	check("--iso", s.o.ISO, isFile, "regular file")
	check("--squash", s.o.Squash, fs.FileInfo.IsDir, "directory")
	for _, d := range s.descriptions() {
		check(d.flag, d.file, isFile, "regular file")
	}
	if s.o.Pkglist {
		check("--pkglist", filepath.Join(s.w.Dir, packageList), isFile, "regular file")
	}
	return problems
}

// NoDirectoryError says that the directory of an output does not exist.
type NoDirectoryError struct{ Output, Dir string }

func (e *NoDirectoryError) Error() string {
	return fmt.Sprintf("there is no directory %s for %q", e.Dir, e.Output)
}

// outputDirectory returns what is wrong with the directory in which an output is made. Outputs appear under
// their names when they are complete, so that the directory must be writable even if there is a file of that
// name.
func (s Spec) outputDirectory(name string) error {
	dir := filepath.Dir(filepath.Clean(name))
	info, err := s.w.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &NoDirectoryError{Output: name, Dir: dir}
	case err != nil:
		return fmt.Errorf("directory of %q: %w", name, err)
	case !info.IsDir():
		return fmt.Errorf("%q is not a directory", dir)
	case s.w.Writable == nil:
		return nil
	}
	if err := s.w.Writable(dir); err != nil {
		return fmt.Errorf("%q cannot be made in directory %q: %w", filepath.Base(name), dir, err)
	}
	return nil
}
