// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of the help text in columns.
const helpWidth = 100

// printHelp prints all options under the headings of their groups. With all, the --no- forms and options without effect
// are included.
func printHelp(w io.Writer, s *settings, root *cobra.Command, all bool) {
	flags := root.Flags()
	fmt.Fprintf(w, "Usage: %s --image=FILE|--tarball=FILE|--squash=DIRECTORY|--export=DEST [options]\n\n", programName)
	fmt.Fprintln(w, "Build a disk image, a tarball or a live file system of Debian or Ubuntu.")
	fmt.Fprintln(w, "An option may be abbreviated as long as that is unambiguous. Options that are on or off have")
	fmt.Fprintln(w, "an opposite: --no-verbose, --no-no-kernel. SIZE is in bytes, or has a unit: k, M, G and T are")
	fmt.Fprintln(w, "powers of 1000; Ki, Mi, Gi and Ti are powers of 1024.")
	fmt.Fprintf(w, "\nCommands:\n")
	fmt.Fprintf(w, "  %-12s%s\n", buildVerb, "build what the options below say; the word may be left out")
	for _, verb := range root.Commands() {
		if verb.IsAvailableCommand() {
			fmt.Fprintf(w, "  %-12s%s\n", verb.Name(), verb.Short)
		}
	}
	fmt.Fprintf(w, "\"%s COMMAND --help\" shows the options of a command.\n", programName)
	for _, g := range groups {
		if g == groupOld && !all {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n%s", g, groupFlags(s, flags, g, all).FlagUsagesWrapped(helpWidth))
	}
	fmt.Fprintf(w, "\nOther:\n%s", actionFlags(s, flags).FlagUsagesWrapped(helpWidth))
}

// groupFlags returns the options of one group.
func groupFlags(s *settings, flags *pflag.FlagSet, g group, all bool) *pflag.FlagSet {
	set := newFlagSet()
	for _, t := range s.all {
		if t.group != g {
			continue
		}
		set.AddFlag(flags.Lookup(t.name))
		if _, ok := t.value.(boolValue); ok && all {
			opposite := *flags.Lookup(oppositeName(t.name))
			opposite.Hidden = false
			set.AddFlag(&opposite)
		}
	}
	return set
}

// actionFlags returns the options that are not settings.
func actionFlags(s *settings, flags *pflag.FlagSet) *pflag.FlagSet {
	set := newFlagSet()
	flags.VisitAll(func(f *pflag.Flag) {
		if s.lookup(f.Name) == nil && !f.Hidden {
			set.AddFlag(f)
		}
	})
	return set
}

func newFlagSet() *pflag.FlagSet {
	set := pflag.NewFlagSet(programName, pflag.ContinueOnError)
	set.SortFlags = false
	return set
}

// The headings of a manual page below which the options are inserted.
const (
	synopsisHeading = ".SH SYNOPSIS"
	optionsHeading  = ".SH OPTIONS"
)

// printManpage copies a manual page and inserts the options: their names below the heading SYNOPSIS, and their
// descriptions below OPTIONS.
func printManpage(w io.Writer, template string, s *settings, flags *pflag.FlagSet) error {
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
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, ".TP\n.BR %s\n%s\n", manOption(f), manEscape(usage))
	})
	return b.String()
}

// manOption returns an option with the placeholder for its value.
func manOption(f *pflag.Flag) string {
	option := "\\fB" + manEscape("--"+f.Name) + "\\fR"
	if f.NoOptDefVal != "" {
		return option
	}
	name, _ := pflag.UnquoteUsage(f)
	return option + "=\\fI" + manEscape(name) + "\\fR"
}

// manEscape escapes text for troff.
func manEscape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.").Replace(text)
}
