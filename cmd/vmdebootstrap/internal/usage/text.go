// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"io"
	"strings"
)

// Widths of a help text, in columns.
const (
	MinWidth = 80 // also where there is no terminal
	MaxWidth = 120
)

// textColumn is where the texts of options and commands begin. A longer name has a line of its own.
const textColumn = 30

// WriteHelp prints a page for a terminal of so many columns; 0 stands for an unknown number. It breaks lines between
// words only.
func (p Page) WriteHelp(w io.Writer, columns int) error {
	width := min(max(columns, MinWidth), MaxWidth)
	var b strings.Builder
	writeEntry(&b, "Usage:", p.Synopsis, len("Usage: "), width)
	for _, paragraph := range p.Long {
		b.WriteString("\n")
		writeEntry(&b, "", paragraph, 0, width)
	}
	if len(p.Commands) > 0 {
		b.WriteString("\nCommands:\n")
		column := 0
		for _, c := range p.Commands {
			column = max(column, len("  "+c.Name+"  "))
		}
		for _, c := range p.Commands {
			writeEntry(&b, "  "+c.Name, c.Summary, column, width)
		}
	}
	for _, s := range p.Options {
		fmt.Fprintf(&b, "\n%s:\n", s.Title)
		for _, o := range s.Options {
			writeEntry(&b, "  "+o.names()+" ", o.Text, textColumn, width)
		}
	}
	if len(p.Examples) > 0 {
		b.WriteString("\nExamples:\n")
	}
	for _, e := range p.Examples {
		if e.Text != "" {
			writeEntry(&b, "  #", e.Text, len("  # "), width)
		}
		fmt.Fprintf(&b, "  %s\n", e.Call)
	}
	if len(p.Commands) > 0 {
		b.WriteString("\n")
		writeEntry(&b, "", fmt.Sprintf("%q shows the options of a command.", p.Name+" COMMAND --help"), 0, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// names returns an option as the help shows it. Options without a short form are below the long form of others.
func (o Option) names() string {
	text := "    --" + o.Name
	if o.Shorthand != "" {
		text = "-" + o.Shorthand + ", --" + o.Name
	}
	if o.Value != "" {
		text += " " + o.Value
	}
	return text
}

// writeEntry writes a name, and beside it from the column on a text, whose lines are not longer than width unless a
// single word is.
func writeEntry(b *strings.Builder, name, text string, column, width int) {
	indent := strings.Repeat(" ", column)
	line := name + strings.Repeat(" ", max(0, column-len(name)))
	if len(name) >= column && name != "" {
		b.WriteString(strings.TrimRight(name, " ") + "\n")
		line = indent
	}
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
