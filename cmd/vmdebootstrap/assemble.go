// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// assembleSettings names the settings of a build that concern the disk and its boot loader, in the order of the help.
var assembleSettings = []string{
	"image", "iso", "iso-label", "iso-persistence",
	"size", "free", "grow", "format", "compress", "bmap", "convert-qcow2", "sparse",
	"boot", "extlinux", "grub", "use-uefi", "mbr", "serial-console", "part-type", "roottype", "swap", "bootsize",
	"boottype", "bootoffset", "bootflag", "esp-size", "sector-size", "raw", "boot-mount", "dtb",
	"build-arg", "secret", "manifest", "sbom",
	"arch", "distribution", "mirror", "tls-verify", "state-dir",
	"cache", "explain-cache", "cache-limit", "cache-from", "cache-to", "cache-key", "verbose", "progress",
}

// containerfileSettings names those of assembleSettings that concern the steps of a Containerfile.
var containerfileSettings = []string{"build-arg", "secret", "cache", "explain-cache", "cache-limit", "cache-from",
	"cache-to", "cache-key"}

// assembleCall is a call of "vmdebootstrap assemble".
type assembleCall struct {
	env            environment
	stdout, stderr io.Writer
	settings       *settings
	flags          *pflag.FlagSet
	from           string
	// containerfile makes the root file system; nil if --from names another source.
	containerfile *builder.ContainerSource
}

// newAssembleVerb returns the command "vmdebootstrap assemble", which makes a disk image from an existing root file
// system.
func newAssembleVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	c := assembleCall{env: env, stdout: stdout, stderr: stderr, settings: newSettings("")}
	c.settings.only(assembleSettings)
	c.settings.secrets = env.secretSource()
	o := &c.settings.options
	o.Distribution, o.SizeAuto = "", true
	c.settings.lookup("distribution").usage =
		"treat the root file system as release `NAME` of Debian or Ubuntu (default: read from it)"
	c.settings.lookup("arch").usage = "expect `ARCHITECTURE`, as Debian calls it (default: read from the root file system)"
	verb := &cobra.Command{
		Use:   "assemble --from SOURCE (--image | --iso) FILE [options]",
		Short: "make a disk image or a live ISO image from another one, a tarball, a container image or a directory",
		Long: "Make a disk image from an existing root file system, with the same partitions, file systems and boot code as a build.\n" +
			"/etc/fstab and the boot loader's configuration are written to match. No program of the root file system is run.\n\n" +
			"SOURCE is a disk image (raw, qcow2, vmdk, vhd, vhdx or vdi, with ext2, ext3, ext4, FAT, squashfs, erofs, btrfs, XFS or f2fs)\n" +
			"or a tarball, both plain or compressed with gzip, xz, zstd or bzip2 (- is standard input); a container image in an OCI\n" +
			"layout, an archive, a registry or podman's store, which is only read; or a directory. Few container images contain a kernel; missing parts are reported before the work begins.\n\n" +
			"A disk image becomes one of another size, format, partition table, boot loader or type of file system: its files are written\n" +
			"to new file systems, and the image itself stays as it is. Its boot loader, swap and what is outside of the system's file\n" +
			"systems are not copied.\n\n" +
			"With --iso, the root file system becomes a live system, as of build --iso: it needs a kernel and live-boot.\n\n" +
			"Disk images, tarballs and container images need no user namespace and no subordinate IDs, unless one of the file systems is\n" +
			"made by a Debian program, as btrfs, xfs and that of --iso are. A directory and podman's store need both, unless root runs\n" +
			"the command: their files have the owners that podman unshare shows.\n\n" +
			"containerfile:DIR makes the root file system of the Containerfile or Dockerfile in a directory, which begins with FROM and\n" +
			"one of the other sources, or the name of an image in a registry. Its RUN instructions run in containers, as those of\n" +
			"build --containerfile do, and their results are cached, and shared by --cache-from and --cache-to.",
		Example: `
# An image for UEFI from a tarball of a Debian with a kernel
vmdebootstrap assemble --from debian.tar --image debian.img --grub --use-uefi
# An existing image, as small as its files allow, in the format of another hypervisor
vmdebootstrap assemble --from server.img --image server.vmdk
# A qcow2 image from a container image of a registry
vmdebootstrap assemble --from docker://registry.example/server:1 \
--image server.qcow2
# A live system from a tarball of a Debian with live-boot and a kernel
vmdebootstrap assemble --from live.tar --iso live.iso
# An image of what the Containerfile in a directory makes
vmdebootstrap assemble --from containerfile:server --image server.img`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.StringVar(&c.from, "from", "", "take the root file system from `SOURCE`, one of "+builder.SourceForms()+
		", containers-storage:[[DRIVER@DIR]]IMAGE, containerfile:DIR[:FILE]")
	c.settings.addFlags(flags)
	c.flags = flags
	return verb
}

// only keeps the settings with these names, in their order.
func (s *settings) only(names []string) {
	var kept []*setting
	for _, name := range names {
		kept = append(kept, s.lookup(name))
	}
	s.all, s.manual = kept, len(kept)
}

// run reports all mistakes in the call before it begins to write.
func (c *assembleCall) run(ctx context.Context) (err error) {
	if o := c.settings.options; c.from == "" || o.Image == "" && o.ISO == "" {
		return usageErrorf("give --from, and --image or --iso")
	}
	j := &job{env: c.env, settings: c.settings, out: c.stdout, err: c.stderr, verbose: c.settings.verbose,
		log: slog.New(slog.DiscardHandler)}
	a := &builder.Assembly{Options: c.settings.options, World: c.env.world()}
	source, err := builder.ParseSource(c.from, a.World)
	if err != nil {
		err = &builder.Problem{Flag: "--from", Err: err}
	}
	var lockErr error
	a.Lock, lockErr = j.lock()
	if err == nil {
		err = c.readContainerfile(source, a)
	}
	if err := errors.Join(slices.Concat(c.settings.problems, []error{err, a.Check(), lockErr,
		checkProgress(j.displayOptions(c.settings.progress))})...); err != nil {
		return err
	}
	usesStore := source.NeedsNamespace() || a.RunsPrograms() || source.IsContainerfile()
	j.show(c.settings.progress, usesStore && !c.env.host.Inside())
	a.Progress = j.report
	began := c.env.now()
	made := func() progress.Result { return assembledFrom(a.Spec()) }
	defer func() { j.finish(ctx, began, made, err) }()
	if usesStore {
		return c.env.withStore(ctx, c.settings.stateDir, j.damaged,
			func(ctx context.Context, store engine, packages *archive.Cache) error {
				client, err := j.archiveClient(packages, builder.Lock{})
				if err != nil {
					return err
				}
				a.Executor = &builder.Executor{
					Engine: store, Archive: client, TempDir: store.TempDir(), Environ: c.env.environ, Dir: c.env.dir,
					Log: j.log, Progress: j.report,
				}
				if c.containerfile != nil {
					return c.assembleContainerfile(ctx, j, a, store)
				}
				return c.assemble(ctx, j, a, source, &store)
			})
	}
	return c.assemble(ctx, j, a, source, nil)
}

// readContainerfile reads the Containerfile of --from, if it is one, and the secrets and the key for it.
func (c *assembleCall) readContainerfile(source builder.Source, a *builder.Assembly) error {
	err := errors.Join(c.settings.readBuildSecrets(), c.settings.readCacheKey())
	a.Options.BuildSecrets = c.settings.options.BuildSecrets
	if !source.IsContainerfile() {
		for _, name := range containerfileSettings {
			if given(c.flags, name) {
				err = errors.Join(err,
					&builder.Problem{Flag: "--" + name, Err: errors.New("--from names no Containerfile")})
			}
		}
		return err
	}
	a.Containerfile = true
	read, readErr := builder.ReadContainerSource(source, a.Options, a.World)
	c.containerfile = read
	return errors.Join(err, readErr)
}

// assembleContainerfile makes the root file system, and the image of it.
func (c *assembleCall) assembleContainerfile(
	ctx context.Context, j *job, a *builder.Assembly, store engine,
) (err error) {
	dir, err := c.env.stateDir(c.settings.stateDir)
	if err != nil {
		return err
	}
	libraries, err := linked(buildInfo())
	if err != nil {
		return err
	}
	version, err := builder.StepVersions(oci.SourceCode, libraries)
	if err != nil {
		return err
	}
	x := *a.Executor
	if x.IDs, err = c.env.host.IDs(); err != nil {
		return err
	}
	x.StateDir, x.Hosts, x.Resolver, x.Output = dir, c.env.hosts(), c.env.resolver(), lineLogger{j.log}
	if j.verbose {
		x.HookOutput = j.out
	}
	x.Cache = j.cache(version, dir)
	if err := x.CheckShares(ctx); err != nil {
		return err
	}
	opener := c.opener(j, a, &store)
	var opened []openSource
	defer func() {
		for _, source := range opened {
			err = errors.Join(err, source.Close())
		}
	}()
	open := func(ctx context.Context, source builder.Source) (*builder.SourceTree, error) {
		image, err := opener.openParsed(ctx, source)
		if err != nil {
			return nil, err
		}
		opened = append(opened, image)
		return image.SourceTree, nil
	}
	rootfs, err := x.BuildContainer(ctx, c.containerfile, a.Lock, open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rootfs.Close()) }()
	a.Archive = c.archiveClient(j)
	if err := a.Write(ctx, rootfs.Tree()); err != nil {
		return err
	}
	shareErr := rootfs.Share(ctx)
	if err := evict(store, dir, c.settings.cacheLimit, countResults(j.report, "remove")); err != nil {
		j.report.Warn(fmt.Sprintf("the cache was not reduced to --cache-limit: %v", err))
	}
	return sharedLast(shareErr)
}

// opener returns what opens the source; store is nil without a user namespace.
func (c *assembleCall) opener(j *job, a *builder.Assembly, store *engine) sourceOpener {
	output := cmp.Or(a.Options.Image, a.Options.ISO)
	return sourceOpener{env: c.env, stateDir: c.settings.stateDir, skipTLSVerify: !c.settings.options.TLSVerify,
		tempDir: filepath.Dir(absolute(c.env.dir, output)), arch: a.Options.Arch, report: j.report,
		store: store}
}

// archiveClient returns what opens the archive client: only a call that downloads packages needs the state directory.
func (c *assembleCall) archiveClient(j *job) func() (*archive.Client, error) {
	return func() (*archive.Client, error) {
		dir, err := c.env.stateDir(c.settings.stateDir)
		if err != nil {
			return nil, err
		}
		packages, err := archive.NewCache(packagesDir(dir))
		if err != nil {
			return nil, err
		}
		return j.archiveClient(packages, builder.Lock{})
	}
}

func (c *assembleCall) assemble(ctx context.Context, j *job, a *builder.Assembly, source builder.Source,
	store *engine) (err error) {
	a.Archive = c.archiveClient(j)
	j.report.Announce("read " + c.from)
	tree, err := c.opener(j, a, store).openParsed(ctx, source)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	for _, text := range tree.Warnings(c.from) {
		j.report.Warn(text)
	}
	a.MountPoints = tree.MountPoints
	return a.Write(ctx, tree)
}
