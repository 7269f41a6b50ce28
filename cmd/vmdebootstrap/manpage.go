// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

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
