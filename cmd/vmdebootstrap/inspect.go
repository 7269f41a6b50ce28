// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// newInspectVerb returns the command "vmdebootstrap inspect", which shows what is in an image.
func newInspectVerb(env environment, out io.Writer) *cobra.Command {
	var asJSON, asHTML bool
	opener := sourceOpener{env: env, anyDisk: true}
	verb := &cobra.Command{
		Use:   "inspect IMAGE [options]",
		Short: "show what is in an image, without starting it",
		Long: "Show the partition table of an image, its file systems and how full they are, the release, kernels and boot loaders,\n" +
			"who can log in, the enabled services, and the packages, the largest first. Nothing of the image is run or mounted.\n\n" +
			"IMAGE is a disk image (raw, qcow2, vmdk, vhd, vhdx or vdi, with ext2, ext3, ext4, FAT, squashfs, erofs, btrfs, XFS or f2fs)\n" +
			"or a tarball, both plain or compressed, a container image or a directory, named as for \"assemble --from\". Of a disk whose system cannot be\n" +
			"read, for example because it is encrypted, the disk is shown, and the exit status is 1.",
		Example: `
# What an image holds, on one screen
vmdebootstrap inspect debian.qcow2
# The installed packages with their versions, for a program
vmdebootstrap inspect debian.img --json | jq .system.packages
# A page for a browser: the disk to scale, packages and directories by size
vmdebootstrap inspect debian.img --html >debian.html`,
		Args: oneArgument("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && asHTML {
				return usageErrorf("--json and --html exclude each other")
			}
			return inspectImage(cmd.Context(), opener, args[0], func(r inspect.Report, index diskimage.Index) error {
				switch {
				case asJSON:
					return printJSON(out, r)
				case asHTML:
					return imagePage(r, index).Write(out)
				}
				_, err := out.Write(inspectText(r))
				return err
			})
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.BoolVar(&asJSON, "json", false, "print JSON, as documented in contrib/doc/existing.md")
	flags.BoolVar(&asHTML, "html", false, "print a page in HTML, one file that loads nothing, for a browser")
	flags.StringVar(&opener.stateDir, "state-dir", "",
		"store an image of a registry in `DIRECTORY` for the time of the call (default: the one of builds)")
	return verb
}

// imagePage returns the page of an image; index is nil if its system cannot be read.
func imagePage(r inspect.Report, index diskimage.Index) htmlreport.Report {
	page := htmlreport.Report{Program: programName + " " + buildVersion(release, buildInfo()), Image: r}
	if index != nil {
		page.Directories = htmlreport.NewDirectory(index)
	}
	return page
}

// inspectImage calls show with the description of an image, also of a disk with a system that cannot be read: then
// index is nil.
func inspectImage(ctx context.Context, opener sourceOpener, image string,
	show func(r inspect.Report, index diskimage.Index) error) (err error) {
	source, err := opener.open(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if source.SystemErr != nil {
		found := inspect.NewUnreadable(image, source.Disk, source.Format, source.SystemErr)
		return errors.Join(show(found, nil), fmt.Errorf("%s: %w", image, source.SystemErr))
	}
	index, err := diskimage.NewIndex(source)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	found, err := inspect.New(image, index, source.Disk, source.Format)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	return show(found, index)
}

// printJSON prints a value for programs.
func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// inspectText returns a report for people, on one screen.
func inspectText(r inspect.Report) []byte {
	var b bytes.Buffer
	if d := r.Disk; d != nil {
		table := "no partition table"
		if d.Table != "" {
			table = d.Table
		}
		fmt.Fprintf(&b, "%s: %s, disk of %s, %s, sectors of %d bytes\n\n", display.Printable(r.Source), d.Format,
			megabytes(int64(d.Size)), table, d.SectorSize)
		writePartitions(&b, d)
	} else {
		fmt.Fprintf(&b, "%s\n", display.Printable(r.Source))
	}
	if s := r.System; s != nil {
		fmt.Fprintln(&b)
		writeSystem(&b, s)
	}
	return b.Bytes()
}

// writePartitions writes a table with a line for each partition, or one for the disk itself.
func writePartitions(b *bytes.Buffer, d *inspect.Disk) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tSTART\tSIZE\tTYPE\tFILE SYSTEM\tUSED\tFREE\tMOUNTED AT\tLABEL")
	line := func(number string, start, size uint64, kind string, f *inspect.Filesystem, label string) {
		filesystem, used, free, at := "-", "-", "-", "-"
		if f != nil {
			filesystem = f.Type
			if f.MountPoint != "" {
				at = display.Printable(f.MountPoint)
			}
			if f.Size > 0 {
				used, free = megabytes(int64(f.Size-f.Free)), megabytes(int64(f.Free))
			}
			if f.Label != "" {
				label = f.Label
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", number, megabytes(int64(start)), megabytes(int64(size)),
			display.Printable(kind), filesystem, used, free, at, display.Printable(label))
	}
	if d.Filesystem != nil {
		line("-", 0, d.Size, "-", d.Filesystem, "")
	}
	for _, p := range d.Partitions {
		line(fmt.Sprint(p.Number), p.Start, p.Size, p.Type, p.Filesystem, p.Label)
	}
	w.Flush()
}

// mostPackages is how many packages are on the screen.
const mostPackages = 10

func writeSystem(b *bytes.Buffer, s *inspect.System) {
	line := func(title, text string) {
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(b, "%-10s %s\n", title, wrap(display.Printable(text), 11))
	}
	line("Release", strings.Join(nonEmpty(s.Release.Name, s.Architecture), ", "))
	line("Host name", s.Hostname)
	line("Kernels", texts(s.Kernels))
	line("Loaders", texts(s.Loaders))
	line("Users", texts(s.Users))
	line("Services", strings.Join(s.Services, " "))
	line("Files", fmt.Sprint(s.Files))
	line("Packages", fmt.Sprintf("%d, %s installed", len(s.Packages), megabytes(int64(s.InstalledSize()))))
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, p := range s.Packages {
		if i == mostPackages {
			fmt.Fprintf(w, "\t\t and %d smaller ones\n", len(s.Packages)-mostPackages)
			break
		}
		fmt.Fprintf(w, "\t%s\t %s %s\n", megabytes(int64(p.Size)), display.Printable(p.Name), display.Printable(p.Version))
	}
	w.Flush()
}

// texts describes values, separated by commas.
func texts[T fmt.Stringer](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, v.String())
	}
	return strings.Join(all, ", ")
}

// wrap breaks a text at blanks for a terminal of 100 columns; the lines after the first begin with indent blanks.
func wrap(text string, indent int) string {
	const columns = 100
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && at+1+len(word) > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		case i > 0:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// nonEmpty returns the texts that are not empty.
func nonEmpty(texts ...string) []string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}
