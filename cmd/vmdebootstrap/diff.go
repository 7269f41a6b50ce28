// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/difference"
	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// errDiffers is the end of "vmdebootstrap diff" that has found a difference and shown it, as of diff(1).
const errDiffers = childStatus(1)

// troubleError is an error of "vmdebootstrap diff", whose exit status is 2 because 1 is that of a difference.
type troubleError struct{ error }

func (e troubleError) Unwrap() []error { return builder.Flatten(e.error) }

// diffCall is a call of "vmdebootstrap diff".
type diffCall struct {
	opener         sourceOpener
	out            io.Writer
	json, markdown bool
	html, files    bool
}

// newDiffVerb returns the command "vmdebootstrap diff", which compares two images.
func newDiffVerb(env environment, out io.Writer) *cobra.Command {
	d := diffCall{opener: sourceOpener{env: env}, out: out}
	verb := &cobra.Command{
		Use:   "diff A B [options]",
		Short: "compare two images: packages, files, partitions",
		Long: "Compare two images: partitions and boot loaders, release, users and services, the packages that were added, removed,\n" +
			"upgraded or downgraded, configuration files, and all other files by type, mode, owner, size, content and attributes; not\n" +
			"by time. Of packages that differ, and of directories that were added or removed, only the number of files is shown,\n" +
			"unless --files is given. Changelogs of upgraded packages come from the images, or from the packages that builds have\n" +
			"kept in the cache.\n\n" +
			"A and B are disk images, tarballs, container images or directories, named as for \"assemble --from\", or files of\n" +
			"--manifest. With a manifest, packages and the files of no package are compared.\n\n" +
			"The exit status is that of diff(1): 0 if there is no difference, 1 if there is one, 2 if something is wrong.",
		Example: `
# What an upgrade has changed
vmdebootstrap diff debian-1.img debian-2.qcow2
# Release notes
vmdebootstrap diff --markdown debian-1.img debian-2.img >notes.md
# A page for a browser
vmdebootstrap diff --html debian-1.img debian-2.img >changes.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageErrorf("%s is missing", [...]string{"A", "B"}[len(args)])
			}
			if len(args) > 2 {
				return usageErrorf("unexpected argument %q after B", args[2])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args[0], args[1]) },
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.BoolVar(&d.files, "files", false, "list all files, also those of packages that differ")
	flags.BoolVar(&d.json, "json", false, "print JSON with all files, as documented in contrib/doc/existing.md")
	flags.BoolVar(&d.markdown, "markdown", false, "print Markdown, for release notes")
	flags.BoolVar(&d.html, "html", false, "print a page in HTML, one file that loads nothing, for a browser")
	flags.StringVar(&d.opener.stateDir, "state-dir", "",
		"store an image of a registry in `DIRECTORY` for the time of the call, and read changelogs that the images lack from the "+
			"packages there (default: the one of builds)")
	return verb
}

func (d *diffCall) run(ctx context.Context, a, b string) error {
	if d.json && d.markdown || d.json && d.html || d.markdown && d.html {
		return usageErrorf("--json, --markdown and --html exclude each other")
	}
	debs, err := d.packageCache()
	if err != nil {
		return troubleError{err}
	}
	r, ofManifests, err := d.compareManifests(ctx, debs, a, b)
	var sides [2]difference.Side
	switch {
	case err == nil && ofManifests && d.html:
		return usageErrorf("--html: a manifest has too little for a page: compare two images")
	case err == nil && !ofManifests:
		r, sides, err = d.compare(ctx, debs, a, b)
	}
	if err != nil {
		return troubleError{err}
	}
	switch {
	case d.json:
		err = printJSON(d.out, r)
	case d.html:
		page := imagePage(sides[1].Report, sides[1].Index)
		page.Change = &htmlreport.Change{From: sides[0].Report, Difference: r, AllFiles: d.files}
		err = page.Write(d.out)
	default:
		_, err = d.out.Write(diffText{markdown: d.markdown, files: d.files}.of(r))
	}
	if err != nil {
		return troubleError{err}
	}
	if !r.Same {
		return errDiffers
	}
	return nil
}

// packageCache returns the cache of packages, which may have changelogs that the images lack; nil if there is none.
func (d *diffCall) packageCache() (*archive.Cache, error) {
	dir, err := d.opener.env.stateDir(d.opener.stateDir)
	if err != nil {
		return nil, nil // there is no home directory
	}
	if _, err := os.Stat(packagesDir(dir)); err != nil {
		return nil, nil
	}
	return archive.NewCache(packagesDir(dir))
}

// compareManifests compares two sides of which one at least is a manifest; else found is false. Of an image then only
// that is looked at which a manifest has.
func (d *diffCall) compareManifests(ctx context.Context, debs *archive.Cache, names ...string) (r difference.Report,
	found bool, err error) {
	sides, missing := make([]manifest.Manifest, len(names)), []int{}
	for i, name := range names {
		m, err := d.readManifest(name)
		if err != nil {
			return r, false, fmt.Errorf("%s: %w", name, err)
		}
		if m == nil {
			missing = append(missing, i)
			continue
		}
		sides[i] = *m
	}
	if len(missing) == len(names) {
		return r, false, nil
	}
	for _, i := range missing {
		if sides[i], err = d.listSource(ctx, names[i]); err != nil {
			return r, false, err
		}
	}
	r, err = difference.CompareManifests(ctx, names[0], names[1], sides[0], sides[1], debs)
	return r, true, err
}

// readManifest reads a file of --manifest, which begins with a brace, as no image and no archive does; nil for others.
func (d *diffCall) readManifest(name string) (m *manifest.Manifest, err error) {
	source, err := builder.ParseSource(name, d.opener.env.sourceWorld())
	if err != nil || source.Transport != "" || source.Path == "-" {
		return nil, nil // what is wrong is told when it is opened
	}
	f, in, err := builder.OpenArchive(context.Background(), absolute(d.opener.env.dir, source.Path))
	if err != nil {
		return nil, nil
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	first := make([]byte, 1)
	if f == nil {
		return nil, nil
	}
	if _, err := f.ReadAt(first, 0); err != nil || first[0] != '{' {
		return nil, nil
	}
	read, err := manifest.Read(f)
	return &read, err
}

// listSource lists what a manifest of a source would have.
func (d *diffCall) listSource(ctx context.Context, name string) (m manifest.Manifest, err error) {
	source, err := d.opener.open(ctx, name)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if m.Packages, m.Unowned, err = manifest.Collect(ctx, source); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return m, err
}

// compare opens both images at once.
func (d *diffCall) compare(ctx context.Context, debs *archive.Cache, a, b string) (r difference.Report,
	sides [2]difference.Side, err error) {
	var sources [2]openSource
	group, groupCtx := errgroup.WithContext(ctx)
	for i, name := range []string{a, b} {
		group.Go(func() (err error) {
			// The source is read after the end of the group, so that it must not stop with that.
			if sources[i], err = d.opener.open(ctx, name); err != nil {
				return err
			}
			if err := groupCtx.Err(); err != nil {
				return err
			}
			sides[i], err = sideOf(name, sources[i])
			return err
		})
	}
	err = group.Wait()
	for _, s := range sources {
		if s.SourceTree != nil {
			defer func() { err = errors.Join(err, s.Close()) }()
		}
	}
	if err != nil {
		return r, sides, err
	}
	r, err = difference.Compare(ctx, sides[0], sides[1], debs)
	return r, sides, err
}

// sideOf reads what can be compared of a source.
func sideOf(name string, source openSource) (difference.Side, error) {
	index, err := diskimage.NewIndex(source)
	if err != nil {
		return difference.Side{}, fmt.Errorf("%s: %w", name, err)
	}
	found, err := inspect.New(name, index, source.Disk, source.Format)
	if err != nil {
		return difference.Side{}, fmt.Errorf("%s: %w", name, err)
	}
	return difference.Side{Report: found, Index: index}, nil
}

// diffText writes a difference for people.
type diffText struct {
	markdown, files bool
	written         map[string]bool // changelogs
	b               bytes.Buffer
}

func (t diffText) of(r difference.Report) []byte {
	t.written = map[string]bool{}
	t.section("Disk and system", len(r.Facts))
	for _, f := range r.Facts {
		t.line("%s: %s → %s", f.Name, cmp.Or(f.A, "none"), cmp.Or(f.B, "none"))
	}
	for _, list := range []struct {
		title    string
		packages []difference.Package
	}{
		{"Packages added", r.Packages.Added}, {"Packages removed", r.Packages.Removed},
		{"Packages upgraded", r.Packages.Upgraded}, {"Packages downgraded", r.Packages.Downgraded},
	} {
		t.section(list.title, len(list.packages))
		for _, p := range list.packages {
			t.line("%s", strings.Join(nonEmpty(p.Name, strings.Join(nonEmpty(p.A, p.B), " → ")), " "))
			t.changes(p.Changes)
		}
	}
	t.section("Configuration files", len(r.ConfigFiles))
	for _, f := range r.ConfigFiles {
		t.file(f, 0)
	}
	brief := difference.Brief{Files: r.Files}
	if !t.files {
		brief = r.Brief()
	}
	t.section("Files", len(brief.Files))
	for _, f := range brief.Files {
		t.file(f, brief.Below[f.Name])
	}
	if brief.OfPackages > 0 {
		fmt.Fprintf(&t.b, "\n%d files of packages that differ are not listed; --files lists them.\n", brief.OfPackages)
	}
	return bytes.TrimPrefix(t.b.Bytes(), []byte("\n"))
}

// section begins a list of count lines; one of none is left out.
func (t *diffText) section(title string, count int) {
	switch {
	case count > 0 && t.markdown:
		fmt.Fprintf(&t.b, "\n## %s\n\n", title)
	case count > 0:
		fmt.Fprintf(&t.b, "\n%s (%d):\n", title, count)
	}
}

// line writes a line of a list. In Markdown it is code: names and versions may have characters with a meaning there.
func (t *diffText) line(format string, args ...any) { t.indented("", fmt.Sprintf(format, args...)) }

// indented writes a line of a list within a list.
func (t *diffText) indented(indent, text string) {
	text = display.Printable(text)
	if t.markdown {
		fmt.Fprintf(&t.b, "%s- `%s`\n", indent, strings.ReplaceAll(text, "`", "'"))
		return
	}
	fmt.Fprintf(&t.b, "  %s%s\n", indent, text)
}

// changes writes the first lines of a changelog. Packages of one source have the same, which is written once.
func (t *diffText) changes(all []difference.Change) {
	const most = 12
	var text []string
	for _, c := range all {
		text = append(text, c.Version)
		for _, line := range c.Lines {
			text = append(text, "  "+line)
		}
	}
	key := strings.Join(text, "\n")
	if len(text) == 0 || t.written[key] {
		return
	}
	t.written[key] = true
	for i, line := range text {
		if i == most {
			t.indented("    ", fmt.Sprintf("%d more lines, which --json has", len(text)-most))
			break
		}
		t.indented("    ", line)
	}
}

// file writes the line of a file with what has changed, and how many names below it are not listed.
func (t *diffText) file(f difference.File, below int) {
	text := f.Text()
	if below > 0 {
		text += fmt.Sprintf(", with %d names below it", below)
	}
	owner := ""
	if f.Package != "" {
		owner = " [" + f.Package + "]"
	}
	t.line("%s %s%s (%s)", f.Sign(), f.Name, owner, text)
}
