// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// squashCall is a call of "vmdebootstrap squash", formerly the program vmsquashtar.
type squashCall struct {
	tarball, directory, stateDir string
	mirror                       builder.URL
	otherMirrors                 []builder.URL
	verbose                      bool
	progress                     string
}

// newSquashVerb returns the command "vmdebootstrap squash", which makes the output of --squash from a tarball or a
// directory.
func newSquashVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	s, settings := squashCall{progress: display.Auto}, newSettings(env.arch)
	verb := &cobra.Command{
		Use:   "squash (--tarball FILE|--directory NAME) [options] OUTPUT",
		Short: "make a live file system from a tarball or a directory",
		Long: "Make the directory OUTPUT with filesystem.squashfs and the files of /boot beside it, as --squash does, from an existing\n" +
			"root file system. Files of the caller become root's.",
		Example: `
# A live file system from a tarball
vmdebootstrap squash --tarball debian.tar.xz live
# A live file system from a directory
vmdebootstrap squash --directory rootfs live`,
		Args: oneArgument("OUTPUT"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if (s.tarball == "") == (s.directory == "") {
				return usageErrorf("give one of --tarball and --directory")
			}
			spec, err := s.spec(env, args[0])
			if err != nil {
				return err
			}
			settings.stateDir = s.stateDir
			j := &job{spec: spec, env: env, settings: settings, out: stdout, err: stderr, verbose: s.verbose,
				log: slog.New(slog.DiscardHandler)}
			if err := checkProgress(j.displayOptions(s.progress)); err != nil {
				return err
			}
			j.show(s.progress, !env.host.Inside())
			began := env.now()
			made := func() progress.Result { return assembledFrom(spec) }
			defer func() { j.finish(cmd.Context(), began, made, err) }()
			return env.withStore(cmd.Context(), s.stateDir, j.damaged,
				func(ctx context.Context, store engine, packages *archive.Cache) error {
					return s.run(ctx, j, store, packages)
				})
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.tarball, "tarball", "",
		"read the root file system from the tar archive `FILE`, which may be compressed")
	flags.StringVar(&s.directory, "directory", "", "read the root file system from the directory `NAME`")
	flags.Var(mirrorsValue{&s.mirror, &s.otherMirrors}, "mirror",
		"download the tools from `URL` (default: this machine's own mirror); further URLs, after blanks, are asked when it fails")
	flags.StringVar(&s.stateDir, "state-dir", "", stateDirUsage)
	flags.BoolVar(&s.verbose, "verbose", false, "report progress")
	flags.Var(choiceValue{&s.progress, display.Modes}, "progress", settings.lookup("progress").usage)
	return verb
}

// spec validates the call. The tools come from Debian's stable release.
func (s squashCall) spec(env environment, output string) (builder.Spec, error) {
	o := builder.DefaultOptions()
	o.Squash, o.Mirror, o.OtherMirrors, o.NoKernel = output, s.mirror, s.otherMirrors, true
	o.Pockets = []string{builder.PocketsNone}
	spec, err := builder.NewSpec(o, env.world())
	input, flag := s.tarball, "--tarball"
	if s.directory != "" {
		input, flag = s.directory, "--directory"
	}
	info, statErr := env.stat(absolute(env.dir, input))
	switch {
	case statErr != nil:
	case s.directory == "" && info.IsDir():
		statErr = fmt.Errorf("%s is a directory", input)
	case s.directory != "" && !info.IsDir():
		statErr = fmt.Errorf("%s is not a directory", input)
	}
	if statErr != nil {
		err = errors.Join(err, &builder.Problem{Flag: flag, Err: statErr})
	}
	return spec, err
}

func (s squashCall) run(ctx context.Context, j *job, store engine, packages *archive.Cache) error {
	lock, err := j.lock()
	if err != nil {
		return err
	}
	client, err := j.archiveClient(packages, lock)
	if err != nil {
		return err
	}
	x := &builder.Executor{
		Engine: store, Archive: client, TempDir: store.TempDir(), Environ: j.env.environ, Dir: j.env.dir, Log: j.log,
		Progress: j.report,
	}
	_, sources, err := x.Resolve(ctx, j.spec, lock)
	if err != nil {
		return err
	}
	if s.directory != "" {
		return x.Squash(ctx, j.spec, sources, absolute(j.env.dir, s.directory), nil)
	}
	_, f, err := builder.OpenArchive(ctx, absolute(j.env.dir, s.tarball))
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := tarfile.Decompress(f)
	if err != nil {
		return fmt.Errorf("--tarball %s: %w", s.tarball, err)
	}
	return errors.Join(x.Squash(ctx, j.spec, sources, "", r), r.Close())
}
