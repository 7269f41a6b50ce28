// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
)

// job is one build and what it works with.
type job struct {
	spec     builder.Spec
	env      environment
	settings *settings
	// out is where messages go: standard output, standard error if that gets the tarball, or the file of --output.
	out, err io.Writer
	stdout   io.Writer
	verbose  bool
	log      *slog.Logger
	display  *display.Display
	report   *progress.Reporter
	// outside says that another run of the program, inside, does the work and shows it.
	outside bool
	// verified is the image that rebuild --verify compares with what is built; empty to write outputs.
	verified string
}

// show begins to show progress in a mode of display.Modes. The run of the program that starts another one inside shows
// nothing.
func (j *job) show(mode string, outside bool) {
	if j.outside = outside; outside {
		mode = display.None
	}
	j.display = display.Open(j.displayOptions(mode))
	j.out, j.err = j.display.Stdout(), j.display.Stderr()
	j.report = progress.New(j.event, j.env.now, j.env.cpu)
}

func (j *job) displayOptions(mode string) display.Options {
	return j.env.displayOptions(mode, j.out, j.err)
}

// displayOptions returns how and where progress is shown in a mode of display.Modes.
func (e environment) displayOptions(mode string, stdout, stderr io.Writer) display.Options {
	return display.Options{Mode: mode, Stdout: stdout, Stderr: stderr, Term: e.getenv("TERM"), Now: e.now}
}

// checkProgress finds the mistake of a value of --progress that standard error does not allow.
func checkProgress(o display.Options) error {
	if err := o.Check(); err != nil {
		return &builder.Problem{Flag: "--progress", Err: err}
	}
	return nil
}

// event writes messages to the log and, with --verbose, to the user, and shows everything else as --progress says.
func (j *job) event(e progress.Event) {
	switch e.Kind {
	case progress.Message:
		if j.verbose {
			fmt.Fprintln(j.out, e.Text)
		}
		j.log.Info(e.Text)
	case progress.Warning:
		j.log.Warn(e.Text)
	}
	j.display.Report(e)
}

// command is the call without a verb, which builds as vmdebootstrap 1.7 did.
type command struct {
	env            environment
	stdout, stderr io.Writer
	settings       *settings
	configs        *configFiles
	flags          *pflag.FlagSet

	// What to do instead of building.
	helpAll, version                   bool
	dumpConfig, dumpNames, listConfigs bool
	manpageTemplate                    string

	// verified is the image of rebuild --verify; empty for all other calls.
	verified string

	// Image files, what to take of them, and how many images are built at a time.
	files, profiles, only []string
	jobs                  int
}

// newCommand returns a call without options, and adds its options to flags.
func newCommand(env environment, stdout, stderr io.Writer, flags *pflag.FlagSet) *command {
	c := &command{
		env: env, stdout: stdout, stderr: stderr,
		settings: newSettings(env.arch),
		configs:  newConfigFiles(env),
		flags:    flags,
	}
	c.settings.secrets = env.secretSource()
	c.flags.SortFlags = false
	c.settings.addFlags(c.flags)
	c.addActions(c.flags)
	return c
}

// newRoot returns the command tree, and the options of the call without a verb.
func newRoot(env environment, stdout, stderr io.Writer) (*cobra.Command, *pflag.FlagSet) {
	var c *command
	root := &cobra.Command{
		Use:           programName + buildUse,
		Short:         "build a disk image, a tarball or a live file system of Debian or Ubuntu",
		Long:          rootLong,
		Example:       buildExamples,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	// Whoever only asks for something needs no working directory.
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		needsDir := []string{"assemble", "boot", "diff", "extract", "inspect", "rebuild", "squash", "verify"}
		if slices.Contains(needsDir, cmd.Name()) {
			return env.dirErr
		}
		return nil
	}
	root.AddCommand(newCacheVerb(env, stdout, stderr), newDoctorVerb(env, stdout), newExtractVerb(env, stdout),
		newInspectVerb(env, stdout), newDiffVerb(env, stdout),
		newAssembleVerb(env, stdout, stderr), newBootVerb(env, stdout, stderr), newShellVerb(env, stdout, stderr),
		newSquashVerb(env, stdout, stderr), newRebuildVerb(env, stdout, stderr),
		newVerifyVerb(env, stdout, stderr), newVersionVerb(stdout),
		newCompletionVerb(stdout), newManVerb(env, stdout), newSchemaVerb(env, stdout))
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelpVerb())
	root.InitDefaultHelpCmd()
	c = newCommand(env, stdout, stderr, root.Flags())
	root.AddCommand(c.newBuildVerb())
	completeValues(env, root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
			return noSuchOption(cmd.Flags(), unknown.GetSpecifiedName())
		}
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			return usageErrorf("--%s: %v", invalid.GetFlag().Name, errors.Unwrap(invalid))
		}
		return usageErrorf("%v", err)
	})
	forEachCommand(root, func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		cmd.Flags().Lookup("help").Usage = "show this help and exit"
	})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if err := printHelp(stdout, cmd, env.columns, false); err != nil {
			fmt.Fprintf(stderr, "ERROR: %v\n", err)
		}
	})
	return root, c.flags
}

// newBuildVerb returns the command "vmdebootstrap build", which does what the call without a verb does, and builds the
// images of image files.
func (c *command) newBuildVerb() *cobra.Command {
	verb := &cobra.Command{
		Use:     buildVerb + " [FILE...]" + buildUse,
		Short:   "build what the options say, or the images of image files; the word may be left out before options",
		Long:    buildLong,
		Example: buildExamples + imageFileExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.files = args
			return c.run(cmd)
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringSliceVar(&c.profiles, "profile", nil,
		"use the settings of the profiles `NAME` of the image files; a list with commas; may be repeated")
	own.StringSliceVar(&c.only, "only", nil,
		"build only the images `NAME` of the image files; a list with commas; may be repeated")
	own.IntVar(&c.jobs, "jobs", 0, "build `N` images at a time (default: one for each processor, see $GOMAXPROCS)")
	own.VisitAll(func(f *pflag.Flag) { f.Annotations = map[string][]string{usage.Group: {string(groupFiles)}} })
	flags.AddFlagSet(own)
	flags.AddFlagSet(c.flags)
	return verb
}

// addActions adds the options that are not settings.
func (c *command) addActions(flags *pflag.FlagSet) {
	settings := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { settings[f.Name] = true })
	defer flags.VisitAll(func(f *pflag.Flag) {
		if !settings[f.Name] {
			f.Annotations = map[string][]string{usage.Group: {string(groupOther)}}
		}
	})
	flags.BoolP("help", "h", false, "show this help and exit")
	flags.BoolVar(&c.helpAll, "help-all", false, "show every option and exit")
	flags.BoolVarP(&c.version, "version", "V", false,
		"show the version, and below it the commit and the versions of Go and libraries, and exit; -v does the same")
	flags.Var(configFlag{c.configs}, "config",
		"also read settings from `FILE`; INI, or YAML if its name ends in .yaml")
	none := flags.VarPF(noConfigFlag{c.configs}, "no-default-configs", "", "ignore all config files named so far")
	none.NoOptDefVal = "true"
	flags.BoolVar(&c.dumpConfig, "dump-config", false,
		"show all settings as a config file and exit; passwords are hidden")
	flags.BoolVar(&c.dumpNames, "dump-setting-names", false, "show the names of all settings and exit")
	flags.BoolVar(&c.listConfigs, "list-config-files", false, "show the names of the config files and exit")
	flags.StringVar(&c.manpageTemplate, "generate-manpage", "",
		"show the manual page `TEMPLATE` with the options filled in and exit")
}

// run carries out what the options ask for.
func (c *command) run(cmd *cobra.Command) error {
	switch {
	case c.helpAll:
		return printHelp(c.stdout, cmd, c.env.columns, true)
	case c.version:
		_, err := fmt.Fprintln(c.stdout, versionText(release, buildInfo()))
		return err
	case c.dumpNames:
		return c.settings.dumpNames(c.stdout)
	case c.listConfigs:
		for _, name := range c.configs.list() {
			fmt.Fprintln(c.stdout, name)
		}
		return nil
	case c.manpageTemplate != "":
		return printManpage(c.stdout, c.manpageTemplate, c.flags)
	}
	if err := c.settings.readConfigs(c.configs, c.flags); err != nil {
		return err
	}
	if len(c.files) > 0 {
		return c.buildImages(cmd)
	}
	if err := c.noImageFiles(); err != nil {
		return err
	}
	if c.dumpConfig {
		return c.dump()
	}
	return c.build(cmd.Context())
}

// dump prints all settings as a config file.
func (c *command) dump() error {
	if err := errors.Join(c.settings.problems...); err != nil {
		return err
	}
	return c.settings.dumpConfig(c.stdout)
}

// check returns what a build has to do, or all mistakes in the settings. It reads the files that settings name.
func (c *command) check() (builder.Spec, error) {
	fileErr := errors.Join(c.settings.readPasswordFile(), c.settings.readCacheKey(), c.settings.readSignKey(),
		c.settings.readLockFile(c.env.dir), c.settings.readBuildSecrets(), c.settings.readLUKS(),
		c.settings.readSecureBoot())
	world := c.env.world()
	world.Locked = c.settings.locked
	spec, err := builder.NewSpec(c.settings.options, world)
	if c.settings.debugShell && !c.settings.options.DryRun && !isTerminal(c.env.stdin) {
		err = errors.Join(err, &builder.Problem{Flag: "--debug-shell", Err: errors.New("standard input is not a terminal")})
	}
	return spec, errors.Join(append(c.settings.problems, fileErr, err)...)
}

// build opens the log, and builds what the settings ask for or, with --dry-run, prints what it would do.
func (c *command) build(ctx context.Context) (err error) {
	if c.env.dirErr != nil {
		return c.env.dirErr
	}
	// A build runs this function twice, the second time inside. Only that run logs the settings and shows progress.
	outside := !c.settings.options.DryRun && !c.env.host.Inside()
	// A passphrase is typed before the display begins, and once.
	luksErr := c.settings.askLUKS(ctx, c.env.stdin, c.stderr, !outside && !c.settings.options.DryRun)
	j := &job{env: c.env, settings: c.settings, out: c.stdout, err: c.stderr, stdout: c.stdout,
		verbose: c.settings.verbose, verified: c.verified}
	progressErr := checkProgress(j.displayOptions(c.settings.progress))
	j.show(c.settings.progress, outside || c.settings.options.DryRun || progressErr != nil)
	defer j.display.Close()
	log, logCloser, logErr := openLog(c.settings.log, j.err, c.env)
	defer func() { err = errors.Join(err, logCloser.Close()) }()
	defer logBug(log)
	j.log = log
	if !outside {
		c.settings.logTo(log)
	}
	j.spec, err = c.check()
	if err := errors.Join(progressErr, logErr, luksErr, err); err != nil {
		return logged(ctx, log, err)
	}
	if outside {
		return logged(ctx, log, c.reenter(ctx, j.spec))
	}
	if name := c.settings.output; name != "" {
		file, err := os.Create(name)
		if err != nil {
			return logged(ctx, log, fmt.Errorf("--output: %w", err))
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		j.out = file
	}
	if c.settings.options.DryRun {
		return logged(ctx, log, dryRun(j))
	}
	if j.spec.Options().Tarball == builder.StandardOutput && c.settings.output == "" {
		j.out = j.err
	}
	for _, text := range j.spec.Warnings() {
		j.report.Warn(text)
	}
	began := c.env.now()
	err = j.lookForSpace(build(ctx, j))
	j.finish(ctx, began, func() progress.Result {
		if j.verified != "" {
			return progress.Result{}
		}
		return builtFrom(j.spec)
	}, err)
	if key := j.spec.Options().LUKSRecoveryKey; err == nil && !key.IsZero() && j.verified == "" {
		fmt.Fprintf(c.stdout, "recovery key of %s, which is kept nowhere else: %s\n", j.spec.Outputs()[0], key.Reveal())
	}
	return logged(ctx, log, err)
}

// logged writes the error that ends the program to the log, and returns it.
func logged(ctx context.Context, log *slog.Logger, err error) error {
	var seen childStatus
	if err == nil || errors.As(err, &seen) {
		return err
	}
	for _, e := range builder.Flatten(err) {
		log.Log(ctx, levelCritical, e.Error())
	}
	if p, ok := errors.AsType[*guard.Panic](err); ok {
		logTrace(log, p)
	}
	return err
}

// reenter runs the program again where containers can be made. What only the caller can do is done here, outside.
func (c *command) reenter(ctx context.Context, spec builder.Spec) error {
	o := spec.Options()
	owner, err := c.owner(o.Owner)
	if err != nil {
		return err
	}
	status, err := c.env.reenter(ctx, reentry{stateDir: c.settings.stateDir, isolation: c.settings.isolation})
	if err != nil {
		return err
	}
	if status != exitOK {
		return childStatus(status)
	}
	if c.verified != "" {
		return nil // nothing was written
	}
	for _, script := range spec.ImageHooks() {
		if err := c.runImageHook(ctx, script, spec.Outputs()[0]); err != nil {
			return err
		}
	}
	if owner < 0 {
		return nil
	}
	for _, output := range append(spec.Outputs(), spec.ArtifactDirs()...) {
		// The output of --squash is a directory.
		err := filepath.WalkDir(output, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(name, owner, -1)
		})
		if err != nil {
			return fmt.Errorf("--owner: %w", err)
		}
	}
	return nil
}

// runImageHook runs a script of the phase image, with the name of the finished image as its argument.
func (c *command) runImageHook(ctx context.Context, script, image string) error {
	cmd := exec.CommandContext(ctx, script, absolute(c.env.dir, image))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.env.dir, c.env.environ, c.stdout, c.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("--hook image:%s: %w (the image is written: %s)", script, err, image)
	}
	return nil
}

// owner returns the user ID that --owner names, -1 for none. A rule of the build has checked that the caller may give
// files to that user.
func (c *command) owner(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	u, err := c.env.lookupUser(name)
	if err != nil {
		return -1, fmt.Errorf("--owner: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return -1, fmt.Errorf("--owner: user ID of %s: %w", name, err)
	}
	return uid, nil
}

// logTo writes all settings to the log, passwords hidden.
func (s *settings) logTo(log *slog.Logger) {
	log.Info(programName + " " + buildVersion(release, buildInfo()))
	for _, t := range s.all {
		log.Debug("setting", t.name, strings.Join(t.value.dump(), ","))
	}
}

// dryRun prints what a build would install and do.
func dryRun(j *job) error {
	_, err := fmt.Fprintf(j.out, "Selected packages:\n%s\n", strings.Join(j.spec.Packages(), ", "))
	if err != nil {
		return err
	}
	plan, err := placeholderPlan(j.spec, j.env.now())
	if err != nil {
		return err
	}
	return plan.Print(j.out)
}
