// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/treediff"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// newRebuildVerb returns the command "vmdebootstrap rebuild", which makes an image from a lock and compares it.
func newRebuildVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	c := &command{env: env, stdout: stdout, stderr: stderr, settings: newSettings(env.arch)}
	c.settings.secrets = env.secretSource()
	verify := false
	verb := &cobra.Command{
		Use:   "rebuild [--verify] LOCK IMAGE [options]",
		Short: "make an image again from its lock, and compare the two",
		Long: "Make a disk image or a tarball with the settings, packages, time and IDs of LOCK, which --lock-file has written, and\n" +
			"write it to IMAGE. With --verify, IMAGE stays as it is: another one is made with no cached result of a step, and\n" +
			"both are compared byte by byte. If they differ, the command names the partition, the files and what differs,\n" +
			"and fails. Run it in the directory of the first build. Secrets are not in the lock: give passwords, commands of\n" +
			"--run and URLs with credentials again. One of --customize, --run, --copy-in, --containerfile and --hook replaces\n" +
			"all of them in the lock.",
		Example: `
# Is this image what its lock says?
vmdebootstrap rebuild --verify debian.lock debian.img
# The same image again, with a mirror that keeps old packages as the second one
vmdebootstrap rebuild debian.lock again.img --mirror "$MIRROR $SNAPSHOTS"`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usageErrorf("LOCK is missing")
			case 1:
				return usageErrorf("IMAGE is missing: it comes after the lock, %s", args[0])
			case 2:
				return nil
			}
			return usageErrorf("unexpected argument %q after IMAGE", args[2])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.settings.follow(env, cmd.Flags(), args[0]); err != nil {
				return err
			}
			if verify {
				return c.verify(cmd.Context(), args[1])
			}
			switch o := &c.settings.options; {
			case o.Image != "":
				o.Image = args[1]
			case o.ISO != "":
				o.ISO = args[1]
			default:
				o.Tarball = args[1]
			}
			return c.build(cmd.Context())
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.BoolVar(&verify, "verify", false, "compare IMAGE with one that is made again, instead of writing it")
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.settings.addFlags(all)
	all.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(rebuildSettings, strings.TrimPrefix(f.Name, "no-")) {
			f.Annotations = nil // no headings
			flags.AddFlag(f)
		}
	})
	return verb
}

// rebuildSettings are the settings that rebuild has options for: what is not in a lock, and what does not change an
// image.
var rebuildSettings = []string{"verbose", "mirror", "apt-mirror", "tools-mirror", "snapshot", "snapshot-mirror", "ca",
	"root-password", "root-password-file", "user", "customize", "run", "copy-in", "containerfile", "build-arg", "hook",
	"state-dir", "isolation", "progress"}

// follow takes the settings of a lock that the command line does not give. Other outputs than an image or a tarball are
// left out.
func (s *settings) follow(env environment, flags *pflag.FlagSet, name string) error {
	f, err := os.Open(absolute(env.dir, name))
	if err != nil {
		return &inputError{fmt.Errorf("open the lock: %w", err), "a build with --lock-file FILE writes a lock"}
	}
	defer f.Close()
	lock, err := lockfile.Read(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	isAction := func(name string) bool {
		_, ok := s.lookup(name).value.(actionsValue)
		return ok
	}
	actionsGiven := slices.ContainsFunc(s.all, func(t *setting) bool { return isAction(t.name) && given(flags, t.name) })
	var problems []error
	last := ""
	for _, setting := range lock.Settings {
		t := s.lookup(setting.Name)
		switch {
		case t == nil:
			problems = append(problems, fmt.Errorf("%s has the setting %q, which this program does not know", name,
				setting.Name))
			continue
		case given(flags, setting.Name), isAction(setting.Name) && actionsGiven:
			continue
		}
		if l, ok := t.value.(list); ok && !isAction(setting.Name) && last != setting.Name {
			l.clear()
		}
		last = setting.Name
		if err := t.value.Set(setting.Value); err != nil {
			problems = append(problems, fmt.Errorf("%s: %s: %w", name, setting.Name, err))
		}
	}
	for _, hidden := range lock.Hidden {
		if !given(flags, hidden) && (hidden != "root-password" || !given(flags, "root-password-file")) {
			problems = append(problems, fmt.Errorf("%s does not hold secrets: give --%s as in the first build", name, hidden))
		}
	}
	o := &s.options
	o.LockFile, o.Exports, o.Squash, o.Manifest, o.SBOMs, o.Report, o.Provenance = name, nil, "", "", nil, "", ""
	o.ABArtifacts = ""
	if o.Image == "" && o.Tarball == "" && o.ISO == "" {
		problems = append(problems, fmt.Errorf("%s is the lock of a build without a disk image, an ISO image or a tarball",
			name))
	}
	return errors.Join(problems...)
}

// verify makes an image again, and compares it with the one that is there. What can never be equal is refused before
// the work begins.
func (c *command) verify(ctx context.Context, image string) error {
	options := c.settings.options
	if options.LUKS {
		return fmt.Errorf("%s is the lock of an encrypted image (--luks): it is never the same twice, because its key is "+
			"random", options.LockFile)
	}
	f, err := diskimage.OpenImage(absolute(c.env.dir, image))
	if err != nil {
		return &inputError{fmt.Errorf("open the image to compare with: %w", err),
			"without --verify, rebuild makes the image of the lock"}
	}
	defer f.Close()
	if options.Image != "" {
		disk, err := sourceOpener{env: c.env, anyDisk: true}.open(ctx, absolute(c.env.dir, image))
		if err != nil {
			return err
		}
		isDisk := disk.Disk != nil
		if err := disk.Close(); err != nil {
			return err
		}
		if !isDisk {
			return fmt.Errorf("%s is no disk image, which %s is the lock of", image, options.LockFile)
		}
	}
	c.verified = image
	return c.build(ctx)
}

// DifferError says that an image is not what its lock makes.
type DifferError struct {
	Image, Lock string
	// Differences are those of the image, which is the first, and the one that was made again.
	Differences []treediff.Difference
}

// shownDifferences is how many differences a message has.
const shownDifferences = 20

func (e *DifferError) Error() string {
	lines := []string{fmt.Sprintf("%s (the first) differs from what %s makes (the second):", e.Image, e.Lock)}
	for i, d := range e.Differences {
		if i == shownDifferences {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Differences)-i))
			break
		}
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n  ")
}

// compare compares the image of rebuild --verify with what the build has made.
func (j *job) compare(ctx context.Context, result *builder.Result, dir string) error {
	again, err := result.WriteAgain(ctx, dir, filepath.Base(j.verified))
	if err != nil {
		return err
	}
	j.report.Begin("compare " + j.verified)
	first, err := diskimage.OpenImage(absolute(j.env.dir, j.verified))
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := diskimage.OpenImage(again)
	if err != nil {
		return err
	}
	defer second.Close()
	sizes := [2]int64{}
	for i, f := range []*os.File{first, second} {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		sizes[i] = info.Size()
	}
	if sizes[0] == sizes[1] {
		equal, err := treediff.Equal(ctx, first, second, sizes[0])
		if err != nil {
			return fmt.Errorf("compare %s: %w", j.verified, err)
		}
		if equal {
			fmt.Fprintf(j.out, "%s is what %s makes: all %d bytes are equal\n", j.verified, j.settings.options.LockFile,
				sizes[0])
			return nil
		}
	}
	differences, err := j.differences(ctx, again)
	if err != nil {
		return fmt.Errorf("%s differs from what %s makes: look for the difference: %w", j.verified,
			j.settings.options.LockFile, err)
	}
	return &DifferError{j.verified, j.settings.options.LockFile, differences}
}

// differences names what differs of two files that differ.
func (j *job) differences(ctx context.Context, again string) (all []treediff.Difference, err error) {
	opener := sourceOpener{env: j.env, tempDir: filepath.Dir(again), report: j.report, anyDisk: true}
	first, err := opener.open(ctx, absolute(j.env.dir, j.verified))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	second, err := opener.open(ctx, again)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	switch {
	case first.Disk != nil && second.Disk != nil:
		all, err = treediff.Disks(ctx, first.Disk, second.Disk)
	case first.Tree != nil && second.Tree != nil:
		all, err = treediff.Trees(ctx, first.Tree, second.Tree)
	default:
		err = errors.New("they are files of two kinds")
	}
	if len(all) == 0 && err == nil {
		all = []treediff.Difference{{Kind: "the form of the file alone: all contents are equal"}}
	}
	return all, err
}

// rebuildDir is the directory, below a state directory, in which rebuild --verify works.
func rebuildDir(stateDir string) string { return filepath.Join(stateDir, "rebuild") }

// clearRebuild removes what a rebuild has left, unless it is running.
func clearRebuild(ctx context.Context, dir string) error {
	err := oci.Clear(ctx, storeDir(dir))
	if errors.Is(err, oci.ErrInUse) {
		return fmt.Errorf("%s: another rebuild is running", dir)
	}
	return err
}
