// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// sample returns a command with an option of each kind.
func sample() *cobra.Command {
	root := &cobra.Command{Use: "tool"}
	cmd := &cobra.Command{
		Use: "run THING", Short: "run a thing", Run: func(*cobra.Command, []string) {},
		Long:    "Run a thing,\nwhatever it is.\n\n.dots begin lines, 'quotes' too.",
		Example: "# One thing\ntool run \\\n--level 3 x\n# Another\ntool run y",
	}
	root.AddCommand(cmd)
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.String("level", "2", "run at `LEVEL`")
	flags.BoolP("quiet", "q", false, "print nothing")
	flags.String("name", "", "call it `NAME` (default: as it is)")
	flags.String("a-name-that-is-longer-than-the-column", "", "have `SOMETHING` in a line of its own")
	flags.Bool("no-quiet", true, "opposite")
	flags.Lookup("no-quiet").Hidden = true
	for name, group := range map[string]string{"level": "How", "no-quiet": "How"} {
		flags.Lookup(name).Annotations = map[string][]string{Group: {group}}
	}
	return cmd
}

func TestHelpShowsUsageOptionsByGroupAndExamples(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := NewPage(sample(), []string{"How"}, false).WriteHelp(&b, 0); err != nil {
		t.Fatal(err)
	}
	want := `Usage: tool run THING [options]

Run a thing, whatever it is.

.dots begin lines, 'quotes' too.

How:
      --level LEVEL           run at LEVEL (default 2)

Options:
  -q, --quiet                 print nothing
      --name NAME             call it NAME (default: as it is)
      --a-name-that-is-longer-than-the-column SOMETHING
                              have SOMETHING in a line of its own
  -h, --help                  help for run

Examples:
  # One thing
  tool run \
    --level 3 x
  # Another
  tool run y
`
	if got := b.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestManEscapesWhatTroffWouldInterpret(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	m := Manual{Title: "tool-run", Section: 1, Release: "tool 1", Page: NewPage(sample(), []string{"How"}, true),
		SeeAlso: []string{"tool(1)"}}
	if err := m.WriteMan(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".TH TOOL\\-RUN 1 \"\" \"tool 1\" \"User Commands\"\n", "tool\\-run \\- run a thing\n", ".SS How\n",
		".BI \\-\\-level \" LEVEL\"\nrun at LEVEL (default 2)\n", ".B \\-q, \\-\\-quiet\n", ".B \\-\\-no\\-quiet\n",
		"\n\\&.dots begin lines", "tool run \\e\n", ".BR tool (1)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, b.String())
		}
	}
}
