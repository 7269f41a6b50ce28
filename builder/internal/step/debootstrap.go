// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/dpkg"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/pkgdetails"
	"github.com/vmdebootstrap/vmdebootstrap/builder/wget"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Debootstrap makes the base system with the toolbox's debootstrap.
type Debootstrap struct {
	Suite string
	Arch  string
	// Mirror has no credentials: everybody can read the arguments of a program, and the URL stays in the image. They
	// are in Context.Access.
	Mirror secret.URL
	// Options are debootstrap's own, with the dashes: "--variant=minbase".
	Options []string
	// InRelease and Tools are the digests of the InRelease files of the suite and of the toolbox's suite.
	InRelease, Tools string
	// Scripts is a copy of a directory of the host that replaces debootstrap's own scripts, or "". ScriptsDigest is the
	// digest of its files.
	Scripts       string `json:"-"`
	ScriptsDigest string `json:",omitempty"`
	// Script is the name of debootstrap's script for the suite, or "" for the one that is named like it.
	Script string `json:",omitempty"`
	// RealDpkg leaves all unpacking to the real dpkg, here and in the later steps. The files are the same.
	RealDpkg bool `json:",omitempty"`
	// KeepIdentity leaves the keys of packages in the results of all steps, see RemoveMachineKeys.
	KeepIdentity bool `json:",omitempty"`
}

func (Debootstrap) Kind() string { return "debootstrap" }

func (Debootstrap) Kept() bool { return true }

func (Debootstrap) LayerTitle(codename string) string { return "bootstrap of " + codename }

func (Debootstrap) Installs() bool { return true }

// Changed implements Step.
func (Debootstrap) Changed(string) string { return "" }

func (d Debootstrap) Title() string {
	return fmt.Sprintf("bootstrap %s for %s from %s", d.Suite, d.Arch, d.Mirror)
}

func (d Debootstrap) Run(ctx context.Context, s *Context) error {
	args := []string{"debootstrap", "--arch=" + d.Arch}
	mounts := s.Target.MountAt(TargetDir)
	mounts = append(mounts, target.Bind(s.Archives, TargetDir+archivesDir),
		target.Bind(s.Program, pkgdetails.Path, "ro"),
		target.Bind(s.Program, wget.Path, "ro"), target.Bind(s.Mirror, wget.Dir, "ro"))
	if !d.RealDpkg {
		mounts = append(mounts, target.Bind(s.Program, dpkg.ChrootPath, "ro"),
			target.Bind(s.Derived, dpkg.DerivedDir, "ro"), target.Bind(s.Program, pkgdetails.ExtractPath, "ro"))
		functions, err := replaceFunctions(s)
		if err != nil {
			return err
		}
		mounts = append(mounts, target.Bind(functions, pkgdetails.FunctionsPath, "ro"))
	}
	if err := s.Target.MkdirAll(archivesDir, 0o755); err != nil {
		return err
	}
	if s.Keyring != "" {
		const inside = "/run/keyring.gpg"
		mounts = append(mounts, target.Bind(s.Keyring, inside, "ro"))
		args = append(args, "--keyring="+inside)
	}
	if d.Scripts != "" {
		mounts = append(mounts, target.Bind(d.Scripts, DefaultScripts, "ro"))
	}
	args = append(args, d.Options...)
	mounts = append(mounts, s.Access.localMounts("")...)
	mirror := debootstrapURL(d.Mirror)
	args = append(args, d.Suite, TargetDir, mirror)
	if d.Script != "" {
		args = append(args, DefaultScripts+"/"+d.Script)
	}

	p := s.Command(args...)
	// debootstrap tests with mknod whether it can make devices, which is impossible in a user namespace. With this
	// variable it uses the /dev that is mounted for it (debootstrap functions, check_sane_mount).
	p.Env = append(p.Env, "container=lxc")
	if err := s.inFreshToolbox(ctx, p, mounts, s.Access.prepareToolbox); err != nil {
		return keepDebootstrapLog(ctx, s, err)
	}
	suites := append([]string{d.Suite}, d.list("extra-suites", "")...)
	for _, suite := range suites {
		if err := renameLists(s.Target, mirror+"/dists/"+suite+"/"); err != nil {
			return fmt.Errorf("name the package lists as apt does: %w", err)
		}
	}
	if err := d.writeSources(s.Target, suites); err != nil {
		return fmt.Errorf("write the mirror for apt: %w", err)
	}
	return s.Target.RemoveAll("/debootstrap")
}

// replaceFunctions writes debootstrap's file of functions with those of pkgdetails.Functions, and returns its name.
func replaceFunctions(s *Context) (string, error) {
	text, err := s.Toolbox.ReadFile(pkgdetails.FunctionsPath)
	if err != nil {
		return "", fmt.Errorf("read debootstrap's functions: %w", err)
	}
	changed, replaced := pkgdetails.Functions(string(text))
	s.Log.Debug("functions of debootstrap in whose place there are faster ones", "names", replaced)
	name := filepath.Join(s.Tmp, "debootstrap-functions")
	if err := os.WriteFile(name, []byte(changed), 0o644); err != nil {
		return "", fmt.Errorf("write debootstrap's functions: %w", err)
	}
	return name, nil
}

// list returns the elements of an option that is a list, such as components.
func (d Debootstrap) list(option, otherwise string) []string {
	value, set := DebootstrapOption(d.Options, option)
	if !set {
		value = otherwise
	}
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
}

// DefaultScripts is the directory of debootstrap's scripts for each suite.
const DefaultScripts = "/usr/share/debootstrap/scripts"

// DebootstrapLog is the name of debootstrap's log, both in the target and in the caller's working directory.
const DebootstrapLog = "debootstrap.log"

// debootstrapLogLines is the number of lines of debootstrap's log that are shown after a failure. The lines that it
// printed itself, before them, have room in a Tail as well.
const debootstrapLogLines = TailLines - 10

// keepDebootstrapLog copies debootstrap's log, if there is one, to the caller's working directory after a
// failure, as the manual promises. It returns the failure, with the path of the copy. The last lines of the log are
// added to the output: it has what wget and dpkg said of the cause.
func keepDebootstrapLog(ctx context.Context, s *Context, failure error) error {
	text, err := s.Target.ReadFile("/debootstrap/" + DebootstrapLog)
	if err != nil || len(text) == 0 || ctx.Err() != nil {
		return failure
	}
	lines := strings.SplitAfter(strings.TrimRight(string(text), "\n")+"\n", "\n")
	last := strings.Join(lines[max(0, len(lines)-1-debootstrapLogLines):], "")
	if _, err := io.WriteString(s.Out, "The end of "+DebootstrapLog+":\n"+last); err != nil {
		return errors.Join(failure, err)
	}
	name := filepath.Join(s.Dir, DebootstrapLog)
	err = diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		_, err := s.Out.hide.WriteString(f, string(text))
		return err
	})
	if err != nil {
		s.Log.Warn("could not keep debootstrap's log", "error", err)
		return failure
	}
	return fmt.Errorf("%w; its log is %s", failure, name)
}

// DebootstrapOptions converts the words of --debootstrapopts to options. It returns the last keyring=
// separately, as that file is mounted under another name.
func DebootstrapOptions(values []string) (options []string, keyring string) {
	for _, word := range DebootstrapWords(values) {
		if file, ok := strings.CutPrefix(word, "keyring="); ok {
			keyring = file
			continue
		}
		options = append(options, "--"+word)
	}
	return options, keyring
}

// DebootstrapOption returns the value of an option ("variant"); the last one wins, as in debootstrap.
func DebootstrapOption(options []string, name string) (value string, set bool) {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, "--"+name+"="); ok {
			value, set = v, true
		}
	}
	return value, set
}

// DebootstrapWords splits the values of --debootstrapopts at spaces into options without their dashes.
func DebootstrapWords(values []string) []string {
	var words []string
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			words = append(words, strings.TrimPrefix(word, "--"))
		}
	}
	return words
}
