package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// debootstrapStep makes the base system with the toolbox's debootstrap.
type debootstrapStep struct {
	base
	Suite  string
	Arch   string
	Mirror URL
	// Options are debootstrap's own, with the dashes: "--variant=minbase".
	Options []string
	// InRelease and Tools are the digests of the InRelease files of the suite and of that which the tools come from.
	InRelease, Tools string
	// Scripts is a copy of a directory of the host that takes the place of debootstrap's own scripts, "" for none, and
	// ScriptsDigest is that of its files.
	Scripts       string `json:"-"`
	ScriptsDigest string `json:",omitempty"`
}

func (debootstrapStep) Kind() string { return "debootstrap" }

func (debootstrapStep) Kept() bool { return true }

func (debootstrapStep) LayerTitle(codename string) string { return "bootstrap of " + codename }

func (debootstrapStep) Installs() bool { return true }

func (d debootstrapStep) Title() string {
	return fmt.Sprintf("bootstrap %s for %s from %s", d.Suite, d.Arch, d.Mirror)
}

func (d debootstrapStep) run(ctx context.Context, s *site) error {
	args := []string{"debootstrap", "--arch=" + d.Arch}
	mounts := s.target.MountAt(targetDir)
	mounts = append(mounts, target.Bind(s.archives, targetDir+archivesDir))
	if err := s.target.MkdirAll(archivesDir, 0o755); err != nil {
		return err
	}
	if s.keyring != "" {
		const inside = "/run/keyring.gpg"
		mounts = append(mounts, target.Bind(s.keyring, inside, "ro"))
		args = append(args, "--keyring="+inside)
	}
	if d.Scripts != "" {
		mounts = append(mounts, target.Bind(d.Scripts, defaultScripts, "ro"))
	}
	args = append(args, d.Options...)
	args = append(args, d.Suite, targetDir, d.Mirror.Reveal())

	p := s.command(args...)
	// debootstrap tests with mknod whether devices can be made, which a user namespace forbids; with this it
	// trusts the /dev that is mounted for it (debootstrap functions, check_sane_mount).
	p.Env = append(p.Env, "container=lxc")
	if err := s.inFreshToolbox(ctx, p, mounts, func(target.Target) error { return nil }); err != nil {
		return keepDebootstrapLog(ctx, s, err)
	}
	return s.target.RemoveAll("/debootstrap")
}

// defaultScripts is where debootstrap keeps what it knows of each suite.
const defaultScripts = "/usr/share/debootstrap/scripts"

// debootstrapLog is the name of debootstrap's log, in its directory in the target and in that of the caller.
const debootstrapLog = "debootstrap.log"

// keepDebootstrapLog puts debootstrap's log, if there is one, into the caller's working directory when debootstrap has
// failed: the manual promises that. It gives the error that says so.
func keepDebootstrapLog(ctx context.Context, s *site, failure error) error {
	text, err := s.target.ReadFile("/debootstrap/" + debootstrapLog)
	if err != nil || len(text) == 0 || ctx.Err() != nil {
		return failure
	}
	name := filepath.Join(s.dir, debootstrapLog)
	err = diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		_, err := s.out.hide.WriteString(f, string(text))
		return err
	})
	if err != nil {
		s.log.Warn("debootstrap's log was not kept", "error", err)
		return failure
	}
	return fmt.Errorf("%w; its log is %s", failure, name)
}

// debootstrapOptions turns the words of --debootstrapopts into options. keyring= is taken out, the last one winning:
// the file is mounted under another name.
func debootstrapOptions(values []string) (options []string, keyring string) {
	for _, word := range debootstrapWords(values) {
		if file, ok := strings.CutPrefix(word, "keyring="); ok {
			keyring = file
			continue
		}
		options = append(options, "--"+word)
	}
	return options, keyring
}

// debootstrapOption gives the value of one option ("variant"); the last one wins, as in debootstrap.
func debootstrapOption(options []string, name string) (value string, set bool) {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, "--"+name+"="); ok {
			value, set = v, true
		}
	}
	return value, set
}
