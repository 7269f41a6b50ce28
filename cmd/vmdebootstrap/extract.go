// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// extraction is a call of "vmdebootstrap extract", formerly the program vmextract.
type extraction struct {
	env       environment
	image     string // the value of --image
	out       io.Writer
	paths     []string
	directory string
	boot      bool
	filename  string
	verbose   bool
}

// newExtractVerb returns the command "vmdebootstrap extract", which copies files from an image without mounting it.
func newExtractVerb(env environment, out io.Writer) *cobra.Command {
	x := extraction{env: env, out: out}
	verb := &cobra.Command{
		Use:   "extract IMAGE (--path NAME...|--directory NAME|--boot) [options]",
		Short: "copy files from an image, without root or mounts",
		Long: "Copy files from an image with ext2, ext3, ext4, FAT, squashfs, erofs, btrfs, XFS and f2fs file systems, without root or\n" +
			"mounts. /boot and /boot/efi are found by the image's /etc/fstab. The image is raw, qcow2, vmdk, vhd, vhdx or vdi, also compressed; a\n" +
			"tarball, a container image or a directory, named as for \"assemble --from\", will do as well.",
		Example: `
# One file, to the working directory
vmdebootstrap extract debian.img --path /etc/fstab
# The kernel, the initramfs and all else in /boot as a tarball
vmdebootstrap extract debian.img --boot --filename boot.tar.zst`,
		Args: func(cmd *cobra.Command, args []string) error {
			if x.image != "" {
				args = append([]string{x.image}, args...)
			}
			return oneArgument("IMAGE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), append(args, x.image)[0]) },
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.StringVar(&x.image, "image", "", "another way to name `IMAGE`, that of vmextract")
	flags.StringArrayVar(&x.paths, "path", nil, "copy the file `NAME` to the working directory; may be repeated")
	flags.StringVar(&x.directory, "directory", "", "write the directory `NAME` to a tar archive")
	flags.BoolVar(&x.boot, "boot", false, "write /boot to a tar archive")
	flags.StringVar(&x.filename, "filename", "vmextract.tgz", "`FILE` of the archive; its suffix chooses the compression")
	flags.BoolVar(&x.verbose, "verbose", false, "report progress")
	return verb
}

func (x *extraction) run(ctx context.Context, image string) (err error) {
	directory := x.directory
	if x.boot {
		if directory != "" {
			return usageErrorf("--boot and --directory exclude each other")
		}
		directory = "/boot"
	}
	if directory == "" && len(x.paths) == 0 {
		return usageErrorf("nothing to extract: give --path, --directory or --boot")
	}
	if err := tarfile.CheckName(x.filename); err != nil {
		return err
	}
	tree, err := sourceOpener{env: x.env, tempDir: x.env.dir}.open(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	entries, err := diskimage.NewIndex(tree)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	// Everything is looked up before anything is written.
	var files []diskimage.Entry
	var problems []error
	for _, name := range x.paths {
		e, err := entries.File(name)
		if err != nil {
			problems = append(problems, fmt.Errorf("--path: %w", err))
		}
		files = append(files, e)
	}
	if directory != "" {
		e, err := entries.Follow(directory)
		if err == nil && e.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = errors.New("not a directory")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("directory %s of %s: %w", directory, image, err))
		}
		directory = e.Name
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	for i, e := range files {
		if err := x.copy(ctx, e, filepath.Join(x.env.dir, path.Base(x.paths[i]))); err != nil {
			return err
		}
	}
	if directory == "" {
		return nil
	}
	return x.archive(ctx, diskimage.Subtree(tree, directory))
}

// copy writes one file, with its holes.
func (x *extraction) copy(ctx context.Context, e diskimage.Entry, name string) error {
	x.progress(name)
	return diskimage.WriteFile(ctx, name, os.FileMode(e.Mode).Perm(), func(f *os.File) error {
		return diskimage.CopyContent(ctx, f, e)
	})
}

// archive writes a directory to a tar archive.
func (x *extraction) archive(ctx context.Context, tree diskimage.Tree) error {
	name := absolute(x.env.dir, x.filename)
	x.progress(name)
	return diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) (err error) {
		w, err := tarfile.Compress(f, name, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		return tarfile.WriteSparse(ctx, w, tree)
	})
}

// progress reports that a file is being written.
func (x *extraction) progress(name string) {
	if x.verbose {
		fmt.Fprintln(x.out, "write "+name)
	}
}
