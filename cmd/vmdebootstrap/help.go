// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// helpWidth is the width of the help text in columns.
const helpWidth = 100

// printHelp prints all options under the headings of their groups. With all, the --no- forms and options without effect
// are included.
func printHelp(w io.Writer, s *settings, flags *pflag.FlagSet, all bool) {
	fmt.Fprintf(w, "Usage: %s --image=FILE|--tarball=FILE|--squash=DIRECTORY|--export=DEST [options]\n\n", programName)
	fmt.Fprintln(w, "Build a disk image, a tarball or a live file system of Debian or Ubuntu.")
	fmt.Fprintln(w, "An option may be abbreviated as long as that is unambiguous. Options that are on or off have")
	fmt.Fprintln(w, "an opposite: --no-verbose, --no-no-kernel. SIZE is in bytes, or has a unit: k, M, G and T are")
	fmt.Fprintln(w, "powers of 1000; Ki, Mi, Gi and Ti are powers of 1024.")
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
