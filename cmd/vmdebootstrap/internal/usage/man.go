// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"io"
	"strings"
)

// Manual is a manual page: a Page, and what only the manual says.
type Manual struct {
	Title   string // "vmdebootstrap-boot"
	Section int    // 1 for programs, 5 for files
	Release string // the program and its version
	Page    Page
	// Chapters come after the options and before the examples.
	Chapters []Chapter
	SeeAlso  []string // "mmdebstrap(1)"
}

// Chapter is a part of a manual page.
type Chapter struct {
	Title string
	// Text comes first, then Terms.
	Text  []string
	Terms []Term
}

// Term is a word and what it means.
type Term struct{ Name, Text string }

// manuals are the names of the sections of a manual.
var manuals = map[int]string{1: "User Commands", 5: "File Formats Manual"}

// WriteMan prints a manual page in the format of man(7). It has no date, so that the same program prints the same page.
func (m Manual) WriteMan(w io.Writer) error {
	var b strings.Builder
	p := m.Page
	fmt.Fprintf(&b, ".TH %s %d \"\" %q %q\n.nh\n.ad l\n", Escape(strings.ToUpper(m.Title)), m.Section, m.Release,
		manuals[m.Section])
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", Escape(m.Title), Escape(p.Summary))
	if p.Synopsis != "" {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", Escape(p.Name), Escape(strings.TrimPrefix(p.Synopsis, p.Name+" ")))
	}
	writeChapter(&b, Chapter{Title: "Description", Text: p.Long})
	var commands []Term
	for _, c := range p.Commands {
		commands = append(commands, Term{c.Name, c.Summary})
	}
	if len(commands) > 0 {
		writeChapter(&b, Chapter{Title: "Commands", Terms: commands})
	}
	if len(p.Options) > 0 {
		b.WriteString(".SH OPTIONS\n")
	}
	for _, s := range p.Options {
		if len(p.Options) > 1 {
			fmt.Fprintf(&b, ".SS %s\n", Escape(s.Title))
		}
		for _, o := range s.Options {
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", o.man(), Escape(o.Text))
		}
	}
	for _, c := range m.Chapters {
		writeChapter(&b, c)
	}
	if len(p.Examples) > 0 {
		b.WriteString(".SH EXAMPLES\n")
	}
	for _, e := range p.Examples {
		if e.Text != "" {
			fmt.Fprintf(&b, ".PP\n%s:\n", Escape(e.Text))
		}
		fmt.Fprintf(&b, ".PP\n.RS 4\n.nf\n%s\n.fi\n.RE\n", Escape(e.Call))
	}
	var also []string
	for _, page := range m.SeeAlso {
		name, section, _ := strings.Cut(page, "(")
		also = append(also, fmt.Sprintf(".BR %s (%s", Escape(name), section))
	}
	if len(also) > 0 {
		b.WriteString(".SH SEE ALSO\n" + strings.Join(also, " ,\n") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeChapter(b *strings.Builder, c Chapter) {
	fmt.Fprintf(b, ".SH %s\n", Escape(strings.ToUpper(c.Title)))
	for i, text := range c.Text {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(Escape(text) + "\n")
	}
	for _, t := range c.Terms {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", Escape(t.Name), Escape(t.Text))
	}
}

// man returns an option with the placeholder for its value, in the format of man(7).
func (o Option) man() string {
	text := ".B " + Escape("--"+o.Name)
	if o.Shorthand != "" {
		text = ".B " + Escape("-"+o.Shorthand+", --"+o.Name)
	}
	if o.Value != "" {
		text = ".BI " + Escape("--"+o.Name) + " \" " + Escape(o.Value) + "\""
	}
	return text
}

// Escape escapes text for troff, line by line.
func Escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'", `"`, `\(dq`, "~", `\(ti`,
		"^", `\(ha`, "`", `\(ga`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
