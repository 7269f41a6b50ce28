// SPDX-License-Identifier: Apache-2.0

// Package usage prints what a command is for and how it is called: as a help text for a terminal, and as a manual page
// for man(1). Both show the same Page, which is made from the command's own texts and options.
package usage

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Group is the annotation of an option with the heading that it is shown below.
const Group = "group"

// Page is what help and the manual say about a command.
type Page struct {
	Name     string // "vmdebootstrap boot"
	Synopsis string // how it is called: "vmdebootstrap boot IMAGE [options]"
	Summary  string // one line without a full stop
	Long     []string
	Commands []Command
	Options  []Section
	Examples []Example
}

// Command is a line of the list of commands.
type Command struct{ Name, Summary string }

// Section is a heading with its options.
type Section struct {
	Title   string
	Options []Option
}

// Option is one option.
type Option struct {
	Shorthand, Name string // without their dashes
	Value           string // the word for its value; "" if it takes none
	Text            string // what it does, with its default
}

// Example is a call and what it is for.
type Example struct{ Text, Call string }

// NewPage returns the page of a command. The options are in the order of groups, then come those without a group. With
// all, options are included that are hidden but have a group.
func NewPage(cmd *cobra.Command, groups []string, all bool) Page {
	p := Page{
		Name: cmd.CommandPath(), Synopsis: Synopsis(cmd), Summary: cmd.Short,
		Long: paragraphs(cmd.Long), Examples: examples(cmd.Example),
	}
	if len(p.Long) == 0 {
		p.Long = []string{strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."}
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			p.Commands = append(p.Commands, Command{c.Name(), c.Short})
		}
	}
	cmd.InitDefaultHelpFlag()
	options := map[string][]Option{}
	titles := slices.Clone(groups)
	add := func(f *pflag.Flag) {
		title, grouped := "Options", false
		if values := f.Annotations[Group]; len(values) > 0 {
			title, grouped = values[0], true
		}
		if f.Hidden && (!all || !grouped) {
			return
		}
		options[title] = append(options[title], newOption(f))
	}
	if !slices.Contains(titles, "Options") {
		titles = append(titles, "Options")
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	for _, title := range titles {
		if list := options[title]; len(list) > 0 {
			p.Options = append(p.Options, Section{title, list})
		}
	}
	return p
}

// Synopsis returns how a command is called.
func Synopsis(cmd *cobra.Command) string {
	line := cmd.Use
	if cmd.HasParent() {
		line = cmd.Parent().CommandPath() + " " + cmd.Use
	}
	if !strings.Contains(line, "[options]") && cmd.HasAvailableFlags() {
		line += " [options]"
	}
	return line
}

// newOption describes an option. Its default is in its text once: a usage that explains the default has it already.
func newOption(f *pflag.Flag) Option {
	o := Option{Shorthand: f.Shorthand, Name: f.Name}
	name, text := pflag.UnquoteUsage(f)
	if o.Text = text; f.NoOptDefVal == "" {
		o.Value = name
	}
	if !strings.Contains(text, "(default") && !slices.Contains([]string{"", "0", "false", "[]"}, f.DefValue) {
		value := f.DefValue
		if strings.TrimSpace(value) != value {
			value = `"` + value + `"`
		}
		o.Text += " (default " + value + ")"
	}
	return o
}

// paragraphs splits a text at its empty lines. Other line ends are blanks.
func paragraphs(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, "\n\n") {
		if words := strings.Fields(part); len(words) > 0 {
			all = append(all, strings.Join(words, " "))
		}
	}
	return all
}

// examples parses lines in pairs: a comment, and the call that it is about. A call that ends with a backslash
// continues in the next line.
func examples(text string) []Example {
	var all []Example
	comment := ""
	var call []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		if c, ok := strings.CutPrefix(line, "# "); ok {
			comment = c
			continue
		}
		if call = append(call, line); !strings.HasSuffix(line, `\`) {
			all = append(all, Example{comment, strings.Join(call, "\n    ")})
			comment, call = "", nil
		}
	}
	return all
}
