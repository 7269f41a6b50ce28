// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
)

// buildUse is how a build is called.
const buildUse = " --image=FILE | --tarball=FILE | --squash=DIRECTORY | --export=DEST [options]"

// rootLong describes the program.
const rootLong = `Build a disk image, a tarball or a live file system of Debian or Ubuntu.

An option may be abbreviated as long as that is unambiguous. Options that are on or off have an opposite: --no-verbose,
--no-no-kernel. SIZE is in bytes, or has a unit: k, M, G and T are powers of 1000; Ki, Mi, Gi and Ti are powers of 1024.
A word that comes after the options is ignored, as vmdebootstrap 1.7 did; one that comes first must be a command.`

// buildExamples are the examples of a build.
const buildExamples = `
# A bootable image of Debian stable, as large as its content and 1 GB
vmdebootstrap --image debian.img --size auto --free 1G
# An image for BIOS, UEFI and Secure Boot with a user and a console for QEMU
vmdebootstrap --image server.qcow2 --boot hybrid --serial-console \
--package openssh-server --user admin/secret --sudo
# A minimal root file system as a tarball
vmdebootstrap --tarball minbase.tar.xz --no-kernel \
--debootstrapopts variant=minbase`

// printHelp prints how a command is called. With all, the --no- forms and options without effect are included.
func printHelp(w io.Writer, cmd *cobra.Command, columns int, all bool) error {
	return usage.NewPage(cmd, groupTitles(all), all).WriteHelp(w, columns)
}

// groupTitles returns the headings of options in their order; with all, that of options without effect is included.
func groupTitles(all bool) []string {
	var titles []string
	for _, g := range groups {
		if g != groupOld || all {
			titles = append(titles, string(g))
		}
	}
	return titles
}

// newHelpVerb returns the command "vmdebootstrap help", which does what --help of a command does.
func newHelpVerb() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "show how a command is called",
		Example: `
# The commands, and the options of a build
vmdebootstrap help
# How images are booted
vmdebootstrap help boot`,
		ValidArgsFunction: completeCommands,
		RunE: func(cmd *cobra.Command, args []string) error {
			about := cmd.Root()
			for _, word := range args {
				i := slices.IndexFunc(about.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
				if i < 0 {
					return unknownCommand(about, word, "")
				}
				about = about.Commands()[i]
			}
			return about.Help()
		},
	}
}

// The headings of a manual page below which the options are inserted.
const (
	synopsisHeading = ".SH SYNOPSIS"
	optionsHeading  = ".SH OPTIONS"
)

// printManpage copies a manual page and inserts the options: their names below the heading SYNOPSIS, and their
// descriptions below OPTIONS.
func printManpage(w io.Writer, template string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(template)
	if err != nil {
		return fmt.Errorf("--generate-manpage: %w", err)
	}
	page := string(data)
	for heading, text := range map[string]string{
		synopsisHeading: manSynopsis(flags),
		optionsHeading:  manOptions(flags),
	} {
		before, after, ok := strings.Cut(page, heading+"\n")
		if !ok {
			return fmt.Errorf("--generate-manpage: %s has no line %q", template, heading)
		}
		page = before + heading + "\n" + text + after
	}
	_, err = io.WriteString(w, page)
	return err
}

// manSynopsis lists the options in the format of man(7).
func manSynopsis(flags *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".B %s\n", programName)
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			fmt.Fprintf(&b, "[%s]\n", manOption(f))
		}
	})
	return b.String()
}

// manOptions describes the options in the format of man(7).
func manOptions(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		_, text := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, ".TP\n.BR %s\n%s\n", manOption(f), usage.Escape(text))
	})
	return b.String()
}

// manOption returns an option with the placeholder for its value.
func manOption(f *pflag.Flag) string {
	option := "\\fB" + usage.Escape("--"+f.Name) + "\\fR"
	if f.NoOptDefVal != "" {
		return option
	}
	name, _ := pflag.UnquoteUsage(f)
	return option + "=\\fI" + usage.Escape(name) + "\\fR"
}
