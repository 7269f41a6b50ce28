// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// shellCall is a call of "vmdebootstrap shell".
type shellCall struct {
	env      environment
	out, err io.Writer
	stateDir string
	write    string
}

// newShellVerb returns the command "vmdebootstrap shell", which runs a shell in the root file system of an image.
func newShellVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	s := shellCall{env: env, out: stdout, err: stderr}
	verb := &cobra.Command{
		Use:   "shell IMAGE [options] [-- COMMAND [ARGUMENT...]]",
		Short: "run a shell in an image's root file system, without starting the image",
		Long: "Run a shell, or COMMAND, in a container with a copy of the root file system of a disk image. The image\n" +
			"stays unchanged, and all changes are discarded, unless --write names a tar archive for the root file\n" +
			"system as it is at the end: \"assemble --from\" makes an image of that. The file systems are those that\n" +
			"\"extract\" reads.",
		Example: `
# Look around in an image
vmdebootstrap shell debian.img
# Keep what a command changes, as a tar archive
echo "apt-get purge -y nano" | vmdebootstrap shell debian.img --write new.tar`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("IMAGE is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args[0], args[1:]) },
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.write, "write", "", "write the root file system, with all changes, to the tar archive `FILE`; "+
		"its suffix chooses the compression")
	flags.StringVar(&s.stateDir, "state-dir", "", "keep the copy in `DIRECTORY` (default: the one of builds)")
	return verb
}

func (s *shellCall) run(ctx context.Context, image string, command []string) error {
	// Before the store is opened: a name that cannot be an image's is a mistake in the call.
	source, err := builder.ParseSource(image, s.env.sourceWorld())
	if err != nil {
		return err
	}
	if s.write != "" {
		if err := tarfile.CheckName(s.write); err != nil {
			return fmt.Errorf("--write: %w", err)
		}
	}
	damaged := func(d oci.Damage) { fmt.Fprintln(s.err, "WARNING: "+damageText(d)) }
	return s.env.withStore(ctx, s.stateDir, damaged, func(ctx context.Context, store engine, _ *archive.Cache) error {
		return s.inside(ctx, store, source, command)
	})
}

// inside runs the command in a container with the image's root file system.
func (s *shellCall) inside(ctx context.Context, store engine, source builder.Source, command []string) (err error) {
	c, err := store.Engine.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := s.fill(ctx, c, store.TempDir(), source); err != nil {
		return err
	}
	if len(command) > 0 {
		err = c.Run(ctx, containerProcess(command...), nil, s.env.stdin, s.out)
	} else {
		err = interactiveShell(ctx, c, s.env, s.out)
	}
	if err != nil || s.write == "" {
		return err
	}
	var options []diskimage.DirOption
	if c.OwnerXattrs() {
		options = append(options, diskimage.WithOwnerXattrs())
	}
	name := absolute(s.env.dir, s.write)
	return diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		w, err := tarfile.Compress(f, name, 0)
		if err != nil {
			return err
		}
		return errors.Join(tarfile.Write(ctx, w, diskimage.NewDirTree(c.Root(), options...)), w.Close())
	})
}

// fill copies the root file system of an image into an empty container, without device nodes, which a container cannot
// have.
func (s *shellCall) fill(ctx context.Context, c *oci.Container, tempDir string, source builder.Source) (err error) {
	tree, err := sourceOpener{env: s.env, stateDir: s.stateDir, tempDir: tempDir}.openParsed(ctx, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	files := diskimage.Filter(tree, func(e diskimage.Entry) bool {
		kind := e.Mode & unix.S_IFMT
		return kind != unix.S_IFCHR && kind != unix.S_IFBLK
	})
	reader, writer := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := tarfile.Write(ctx, writer, files)
		return errors.Join(err, writer.CloseWithError(err))
	})
	group.Go(func() error {
		err := c.Unpack(ctx, reader)
		return errors.Join(err, reader.CloseWithError(err))
	})
	return group.Wait()
}

// containerProcess returns a program that runs as root in a container, like those of a login.
func containerProcess(args ...string) *specs.Process {
	return &specs.Process{Args: args, Cwd: "/", Env: []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}}
}

// interactiveShell runs a shell for the user until it ends. On a terminal, script(1), which every Debian has, gives it
// a terminal of its own, because the container's processes are in another session: job control works, and Ctrl-C does
// not end this program. The status of the user's last command is not an error.
func interactiveShell(ctx context.Context, target builder.Target, env environment, out io.Writer) error {
	shell := containerProcess("/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash -l; else exec /bin/sh -l; fi")
	if isTerminal(env.stdin) {
		shell.Args = []string{"/usr/bin/script", "--quiet", "--return", "--command", strings.Join(shell.Args[2:], " "),
			"/dev/null"}
	}
	if term := env.getenv("TERM"); term != "" {
		shell.Env = append(shell.Env, "TERM="+term)
	}
	err := target.Run(ctx, shell, nil, env.stdin, out)
	var exit *oci.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return nil
	}
	return err
}
