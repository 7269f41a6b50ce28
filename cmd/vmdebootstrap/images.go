// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/imagefile"
)

// image is one image of an image file.
type image struct {
	imagefile.Image
	// words are the command line that builds it alone.
	words []string
	spec  builder.Spec
	plan  builder.Plan
	// dryRun says that it is not to be built.
	dryRun bool

	// What became of it: whether its build began, and its exit status and result.
	began  bool
	status int
	result progress.Result
}

// failedImages is the error of images that could not be built; they have reported why.
type failedImages struct{ status int }

func (e failedImages) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// noImageFiles returns an error for options that need an image file.
func (c *command) noImageFiles() error {
	for _, option := range []struct {
		name  string
		given bool
	}{{"profile", len(c.profiles) > 0}, {"only", len(c.only) > 0}, {"jobs", c.jobs != 0}} {
		if option.given {
			return usageErrorf("--%s is for image files: name one after %s", option.name, buildVerb)
		}
	}
	return nil
}

// buildImages builds the images of the image files, or prints what it would do.
func (c *command) buildImages(cmd *cobra.Command) error {
	if c.jobs < 0 {
		return usageErrorf("--jobs: %d is not a number of images", c.jobs)
	}
	if c.env.dirErr != nil {
		return c.env.dirErr
	}
	if c.settings.debugShell {
		return &builder.Problem{Flag: "--debug-shell", Err: errors.New("is for a build without an image file")}
	}
	if c.settings.options.Tarball == builder.StandardOutput {
		return &builder.Problem{Flag: "--tarball",
			Err: errors.New("standard output is for a build without an image file")}
	}
	shown := c.env.displayOptions(c.settings.progress, c.stdout, c.stderr)
	if err := checkProgress(shown); err != nil {
		return err
	}
	read, err := c.readImages()
	if err != nil {
		return err
	}
	images, err := c.checkImages(read)
	if err != nil {
		return err
	}
	if c.dumpConfig {
		return c.dumpImages(images)
	}
	if name := c.settings.output; name != "" {
		file, err := os.Create(absolute(c.env.dir, name))
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		defer file.Close()
		shown.Stdout = file
	}
	if slices.ContainsFunc(images, func(i *image) bool { return !i.dryRun }) {
		return c.makeImages(cmd, images, shown)
	}
	return c.printImages(cmd, images, shown)
}

// imageCommand returns the command that builds an image.
func (c *command) imageCommand(i *image, env environment, stdout, stderr io.Writer) (*command, error) {
	one := newCommand(env, stdout, stderr, pflag.NewFlagSet(i.Name, pflag.ContinueOnError))
	one.configs = c.configs
	if err := one.flags.Parse(i.words); err != nil {
		return nil, err
	}
	if err := one.settings.readConfigs(one.configs, one.flags); err != nil {
		return nil, err
	}
	one.settings.output, one.settings.debugShell = "", false // they are for the call
	return one, nil
}

// checkImages returns the images to build, or all mistakes in their settings.
func (c *command) checkImages(read []imagefile.Image) ([]*image, error) {
	var problems mistakes
	var images []*image
	for _, read := range read {
		words, err := c.imageWords(read)
		if err != nil {
			return nil, err
		}
		i := &image{Image: read, words: words}
		images = append(images, i)
		one, err := c.imageCommand(i, c.env, io.Discard, io.Discard)
		if err != nil {
			problems.add(i.Name, err)
			continue
		}
		i.dryRun = one.settings.options.DryRun
		if i.spec, err = one.check(); err == nil {
			i.plan, err = placeholderPlan(i.spec, c.env.now())
		}
		problems.add(i.Name, i.located(err))
	}
	if err := problems.join(len(images)); err != nil {
		return nil, err
	}
	problems.add("", checkOutputs(images, c.env.dir))
	return images, problems.join(len(images))
}

// located adds to mistakes of settings where the image file has these.
func (i *image) located(err error) error {
	var problems []error
	for _, err := range builder.Flatten(err) {
		if problem, ok := errors.AsType[*builder.Problem](err); ok {
			for _, s := range slices.Backward(i.Settings) {
				if "--"+s.Name == problem.Flag {
					err = fmt.Errorf("%s: %w", s.Position(), err)
					break
				}
			}
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// mistakes are those of several images. What is wrong with many of them is said once.
type mistakes struct {
	texts []string
	errs  map[string]error
	names map[string][]string
}

// add adds the mistakes of an image; a mistake without an image has no name.
func (m *mistakes) add(name string, err error) {
	if m.errs == nil {
		m.errs, m.names = map[string]error{}, map[string][]string{}
	}
	for _, err := range builder.Flatten(err) {
		text := err.Error()
		if m.errs[text] == nil {
			m.texts = append(m.texts, text)
			m.errs[text] = err
		}
		if name != "" {
			m.names[text] = append(m.names[text], name)
		}
	}
}

// join returns them all, each with the names of the images, of which there are so many.
func (m *mistakes) join(images int) error {
	var problems []error
	for _, text := range m.texts {
		err, names := m.errs[text], m.names[text]
		switch {
		case len(names) == images && images > 1:
			err = fmt.Errorf("all images: %w", err)
		case len(names) > 0:
			err = fmt.Errorf("%s: %w", strings.Join(names, ", "), err)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// checkOutputs finds files that two images would write.
func checkOutputs(images []*image, dir string) error {
	var problems []error
	writers := map[string]*image{}
	for _, i := range images {
		for _, name := range i.spec.Exclusive() {
			name = absolute(dir, name)
			if other := writers[name]; other != nil && other != i {
				problems = append(problems, fmt.Errorf("images %q and %q would both write %s: give each its own", other.Name,
					i.Name, name))
			}
			writers[name] = i
		}
	}
	return errors.Join(problems...)
}

// dumpImages prints the settings of each image as a config file.
func (c *command) dumpImages(images []*image) error {
	for n, i := range images {
		one, err := c.imageCommand(i, c.env, c.stdout, c.stderr)
		if err != nil {
			return err
		}
		if n > 0 {
			fmt.Fprintln(c.stdout)
		}
		fmt.Fprintf(c.stdout, "# %s\n", i.Name)
		if err := one.dump(); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
	}
	return nil
}

// printImages prints the plan of each image.
func (c *command) printImages(cmd *cobra.Command, images []*image, shown display.Options) error {
	for n, i := range images {
		if n > 0 {
			fmt.Fprintln(shown.Stdout)
		}
		fmt.Fprintf(shown.Stdout, "Image %s\n", i.Name)
		switch other, steps := mostShared(images[:n], i); {
		case steps == 1:
			fmt.Fprintf(shown.Stdout, "Step 1 is that of %s and is made once.\n", other.Name)
		case steps > 1:
			fmt.Fprintf(shown.Stdout, "Steps 1 to %d are those of %s and are made once.\n", steps, other.Name)
		}
		one, err := c.imageCommand(i, c.env, shown.Stdout, c.stderr)
		if err == nil {
			err = one.build(cmd.Context())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mostShared returns the image whose plan begins with the most steps of the plan of i, and how many.
func mostShared(images []*image, i *image) (most *image, steps int) {
	for _, other := range images {
		if n := i.plan.SharedSteps(other.plan); n > steps {
			most, steps = other, n
		}
	}
	return most, steps
}

// imageRun builds several images.
type imageRun struct {
	*command
	cmd   *cobra.Command
	group *display.Group
	// written are absolute names of all files that the images write.
	written []string

	mu      sync.Mutex
	waiting []*image
	running []*image
}

// makeImages builds the images, as many at a time as --jobs says, and prints a table of what became of them.
func (c *command) makeImages(cmd *cobra.Command, images []*image, shown display.Options) error {
	ctx, began := cmd.Context(), c.env.now()
	r := &imageRun{command: c, cmd: cmd, group: display.OpenGroup(shown, len(images)), waiting: slices.Clone(images)}
	defer r.group.Close()
	for _, i := range images {
		for _, name := range i.spec.Written() {
			r.written = append(r.written, absolute(c.env.dir, name))
		}
	}
	jobs := c.jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	var workers sync.WaitGroup
	for range min(jobs, len(images)) {
		workers.Go(func() {
			for i := r.next(ctx); i != nil; i = r.next(ctx) {
				r.build(ctx, i)
				r.done(i)
			}
		})
	}
	workers.Wait()
	r.group.Close()
	if err := writeTable(shown.Stdout, images, c.env.now().Sub(began)); err != nil {
		return err
	}
	if slices.ContainsFunc(images, func(i *image) bool { return i.status == exitInterrupted || !i.began }) {
		return failedImages{exitInterrupted}
	}
	if slices.ContainsFunc(images, func(i *image) bool { return i.status != exitOK }) {
		return failedImages{exitFailed}
	}
	return nil
}

// next returns the image to build next, nil if there is none: the one that has the fewest steps in common with those
// that are being built, because it would wait for these steps.
func (r *imageRun) next(ctx context.Context) *image {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 || ctx.Err() != nil {
		return nil
	}
	best, fewest := 0, -1
	for n, i := range r.waiting {
		if _, steps := mostShared(r.running, i); fewest < 0 || steps < fewest {
			best, fewest = n, steps
		}
	}
	i := r.waiting[best]
	r.waiting = slices.Delete(r.waiting, best, best+1)
	r.running = append(r.running, i)
	i.began = true
	return i
}

func (r *imageRun) done(i *image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = slices.DeleteFunc(r.running, func(other *image) bool { return other == i })
}

// build builds one image in a run of the program of its own, whose progress comes as JSON.
func (r *imageRun) build(ctx context.Context, i *image) {
	member := r.group.Begin(i.Name)
	stdout, stderr := member.Stdout(), member.Stderr()
	env := r.env
	env.call.image = i.Name
	env.reenter = func(ctx context.Context, again reentry) (int, error) {
		again.call = &call{args: r.callWords(i), image: i.Name, written: r.written}
		return r.reenter(ctx, again, i, member, stdout, stderr)
	}
	one, err := r.imageCommand(i, env, stdout, stderr)
	if err == nil {
		err = one.build(ctx)
	}
	i.status = report(ctx, stderr, r.cmd, err)
	if i.status != exitOK && i.result.Error == "" && err != nil {
		i.result.Error = err.Error()
	}
	_, _ = stdout.Close(), stderr.Close() // they never fail
	member.End(i.status != exitOK)
}

// callWords returns the arguments of the run that builds an image. It reads no other config files than this one.
func (r *imageRun) callWords(i *image) []string {
	words := []string{"--no-default-configs"}
	for n, name := range r.configs.list() {
		if _, err := r.env.stat(absolute(r.env.dir, name)); err == nil || n >= len(r.configs.defaults) {
			words = append(words, "--config="+name)
		}
	}
	words = append(words, i.words...)
	return append(words, "--output=", "--no-debug-shell", "--progress="+display.JSON)
}

// reenter runs the program again for an image, and receives its lines and events.
func (r *imageRun) reenter(ctx context.Context, again reentry, i *image, member *display.Member,
	stdout, stderr io.Writer) (status int, err error) {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer outRead.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, outWrite.Close())
	}
	defer errRead.Close()
	again.stdout, again.stderr = outWrite, errWrite
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = io.Copy(stdout, outRead) })
	readers.Go(func() { i.receive(errRead, member, stderr) })
	status, err = r.env.reenter(ctx, again)
	err = errors.Join(err, outWrite.Close(), errWrite.Close())
	readers.Wait()
	return status, err
}

// receive passes on the events of a build, and the lines that are none.
func (i *image) receive(in io.Reader, member *display.Member, stderr io.Writer) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		var e progress.Event
		switch {
		case strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil && e.Kind != "":
			if e.Result != nil {
				i.result = *e.Result
			}
			member.Report(e)
		default:
			_, _ = io.WriteString(stderr, line) // it never fails
		}
		if err != nil {
			return
		}
	}
}

// writeTable writes what became of the images.
func writeTable(out io.Writer, images []*image, took time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tRESULT\tTIME\tSTEPS\tFROM CACHE\tOUTPUT")
	built := 0
	for _, i := range images {
		r, word, output := i.result, "failed", display.Printable(i.result.Error)
		switch {
		case !i.began:
			word, output = "not built", ""
		case i.status == exitInterrupted:
			word, output = "interrupted", ""
		case i.status == exitOK && i.dryRun:
			word = "planned"
		case i.status == exitOK:
			word, output = "built", strings.Join(fileNames(r), ", ")
			built++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\n", i.Name, word,
			time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Steps+r.Cached, r.Cached, output)
	}
	fmt.Fprintf(w, "%d of %d images built in %s\n", built, len(images), took.Round(time.Second))
	return w.Flush()
}

// fileNames returns the outputs of a build with their sizes.
func fileNames(r progress.Result) []string {
	var all []string
	for _, f := range r.Files {
		text := filepath.Clean(f.Name)
		if f.Size > 0 {
			text += fmt.Sprintf(" (%.1f MB)", float64(f.Size)/1e6)
		}
		all = append(all, text)
	}
	return all
}
