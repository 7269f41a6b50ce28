// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
)

// availableCommands returns the commands that help lists, and root.
func availableCommands() (root *cobra.Command, all []*cobra.Command) {
	root, _ = newRoot(environment{arch: "amd64"}, io.Discard, io.Discard)
	forEachCommand(root, func(c *cobra.Command) {
		if c == root || c.IsAvailableCommand() || c.Name() == "help" {
			all = append(all, c)
		}
	})
	return root, all
}

func TestHelpFitsTheTerminal(t *testing.T) {
	t.Parallel()
	_, commands := availableCommands()
	for _, c := range commands {
		for columns, want := range map[int]int{0: 80, 20: 80, 80: 80, 93: 93, 120: 120, 200: 120} {
			var b strings.Builder
			if err := printHelp(&b, c, columns, true); err != nil {
				t.Fatal(err)
			}
			widest := 0
			for line := range strings.Lines(b.String()) {
				if n := len(strings.TrimSuffix(line, "\n")); n > widest {
					widest = n
				}
			}
			if widest > want {
				t.Errorf("%s on %d columns: a line of %d", c.CommandPath(), columns, widest)
			}
		}
	}
}

func TestHelpNamesEachOptionAndDefaultOnce(t *testing.T) {
	t.Parallel()
	_, commands := availableCommands()
	for _, c := range commands {
		seen := map[string]bool{}
		for _, s := range usage.NewPage(c, groupTitles(true), true).Options {
			for _, o := range s.Options {
				if seen[o.Name] {
					t.Errorf("%s --%s is there twice", c.CommandPath(), o.Name)
				}
				seen[o.Name] = true
				if strings.Count(o.Text, "(default") > 1 || strings.ContainsAny(o.Text, "`") {
					t.Errorf("%s --%s: %q", c.CommandPath(), o.Name, o.Text)
				}
			}
		}
	}
}

// TestEveryVerbHasTwoExamples looks each option of an example up.
func TestEveryVerbHasTwoExamples(t *testing.T) {
	t.Parallel()
	root, commands := availableCommands()
	for _, c := range commands {
		examples := usage.NewPage(c, nil, false).Examples
		if len(examples) < 2 {
			t.Errorf("%s has %d examples, want 2", c.CommandPath(), len(examples))
		}
		for _, e := range examples {
			call := strings.ReplaceAll(e.Call, "\\\n", " ")
			if e.Text == "" || !strings.Contains(call, programName) {
				t.Errorf("%s: example %q has no comment, or does not call the program", c.CommandPath(), call)
			}
			_, after, _ := strings.Cut(call, programName)
			called, _, err := root.Find(strings.Fields(after))
			if err != nil {
				t.Errorf("%s: %v", call, err)
				continue
			}
			for word := range strings.FieldsSeq(after) {
				name, _, _ := strings.Cut(word, "=")
				if name, ok := strings.CutPrefix(name, "--"); ok && called.Flags().Lookup(name) == nil &&
					called.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: no option --%s", call, name)
				}
			}
		}
	}
}

// TestManualDescribesEveryOption compares each page with the help of its command.
func TestManualDescribesEveryOption(t *testing.T) {
	t.Parallel()
	root, commands := availableCommands()
	pages := map[string]string{}
	for _, m := range manualPages(root) {
		var b strings.Builder
		if err := m.WriteMan(&b); err != nil {
			t.Fatal(err)
		}
		pages[m.Page.Name] = b.String()
	}
	if !strings.Contains(pages[programName+".conf"], ".B sector\\-size = SIZE\n") {
		t.Error("the page of config files lacks sector-size")
	}
	for _, c := range commands {
		if c.Name() == "help" {
			continue
		}
		page := pages[c.CommandPath()]
		for _, s := range usage.NewPage(c, groupTitles(true), false).Options {
			for _, o := range s.Options {
				if name := usage.Escape("--" + o.Name); !strings.Contains(page, name+"\n") && !strings.Contains(page, name+" \"") {
					t.Errorf("the page of %s lacks --%s", c.CommandPath(), o.Name)
				}
			}
		}
		for _, heading := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH OPTIONS\n", ".SH SEE ALSO\n"} {
			if !strings.Contains(page, heading) {
				t.Errorf("the page of %s has no line %q", c.CommandPath(), heading)
			}
		}
	}
}
