// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/builder/pkgdetails"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Debootstrap makes the base system with the toolbox's debootstrap.
type Debootstrap struct {
	Suite  string
	Arch   string
	Mirror secret.URL
	// Options are debootstrap's own, with the dashes: "--variant=minbase".
	Options []string
	// InRelease and Tools are the digests of the InRelease files of the suite and of that which the tools come from.
	InRelease, Tools string
	// Scripts is a copy of a directory of the host that takes the place of debootstrap's own scripts, "" for none, and
	// ScriptsDigest is that of its files.
	Scripts       string `json:"-"`
	ScriptsDigest string `json:",omitempty"`
}

func (Debootstrap) Kind() string { return "debootstrap" }

func (Debootstrap) Kept() bool { return true }

func (Debootstrap) LayerTitle(codename string) string { return "bootstrap of " + codename }

func (Debootstrap) Installs() bool { return true }

// Changed implements Step.
func (Debootstrap) Changed(input string) string { return changedMirror(input) }

// changedMirror describes a change of the inputs of a step whose only secret is in the URL of a mirror.
func changedMirror(input string) string {
	if input == "" {
		return "the credentials of the mirror are others"
	}
	return ""
}

func (d Debootstrap) Title() string {
	return fmt.Sprintf("bootstrap %s for %s from %s", d.Suite, d.Arch, d.Mirror)
}

func (d Debootstrap) Run(ctx context.Context, s *Context) error {
	args := []string{"debootstrap", "--arch=" + d.Arch}
	mounts := s.Target.MountAt(TargetDir)
	mounts = append(mounts, target.Bind(s.Archives, TargetDir+archivesDir), target.Bind(s.Program, pkgdetails.Path, "ro"))
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
	args = append(args, d.Suite, TargetDir, d.Mirror.Reveal())

	p := s.Command(args...)
	// debootstrap tests with mknod whether devices can be made, which a user namespace forbids; with this it
	// trusts the /dev that is mounted for it (debootstrap functions, check_sane_mount).
	p.Env = append(p.Env, "container=lxc")
	if err := s.inFreshToolbox(ctx, p, mounts, func(target.Target) error { return nil }); err != nil {
		return keepDebootstrapLog(ctx, s, err)
	}
	return s.Target.RemoveAll("/debootstrap")
}

// DefaultScripts is where debootstrap keeps what it knows of each suite.
const DefaultScripts = "/usr/share/debootstrap/scripts"

// DebootstrapLog is the name of debootstrap's log, in its directory in the target and in that of the caller.
const DebootstrapLog = "debootstrap.log"

// keepDebootstrapLog puts debootstrap's log, if there is one, into the caller's working directory when debootstrap has
// failed: the manual promises that. It gives the error that says so.
func keepDebootstrapLog(ctx context.Context, s *Context, failure error) error {
	text, err := s.Target.ReadFile("/debootstrap/" + DebootstrapLog)
	if err != nil || len(text) == 0 || ctx.Err() != nil {
		return failure
	}
	name := filepath.Join(s.Dir, DebootstrapLog)
	err = diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		_, err := s.Out.hide.WriteString(f, string(text))
		return err
	})
	if err != nil {
		s.Log.Warn("debootstrap's log was not kept", "error", err)
		return failure
	}
	return fmt.Errorf("%w; its log is %s", failure, name)
}

// DebootstrapOptions turns the words of --debootstrapopts into options. keyring= is taken out, the last one winning:
// the file is mounted under another name.
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

// DebootstrapOption gives the value of one option ("variant"); the last one wins, as in debootstrap.
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
