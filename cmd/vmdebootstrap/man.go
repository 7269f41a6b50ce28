// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
)

// newManVerb returns the command "vmdebootstrap man", which shows the manual pages and writes them for packages.
func newManVerb(env environment, out io.Writer) *cobra.Command {
	var directory string
	verb := &cobra.Command{
		Use:   "man [PAGE]",
		Short: "show the manual, or write its pages to a directory",
		Long: `Show a manual page: that of the program, of a command, or of its config files. On a terminal man(1) shows it,
otherwise the page is printed in the format of man(7).`,
		Example: `
# The manual page of a command
vmdebootstrap man boot
# All pages, for a package
vmdebootstrap man --directory /usr/local/share/man`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, m := range manualPages(cmd.Root()) {
				if len(args) == 0 {
					names = append(names, cobra.CompletionWithDesc(pageName(m), m.Page.Summary))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := manualPages(cmd.Root())
			if directory != "" {
				if len(args) > 0 {
					return usageErrorf("--directory writes all pages: leave out %q", args[0])
				}
				return writeManual(absolute(env.dir, directory), pages)
			}
			want := programName
			if len(args) > 0 {
				want = args[0]
			}
			var names []string
			for _, m := range pages {
				if pageName(m) == want {
					return showManual(cmd, env, out, m)
				}
				names = append(names, pageName(m))
			}
			return usageErrorf("no manual page %q; want one of %s%s", want, strings.Join(names, ", "),
				suggest.Question(want, names))
		},
	}
	verb.Flags().StringVar(&directory, "directory", "", "write all pages to the subdirectories man1 and man5 of `DIRECTORY`")
	return verb
}

// pageName returns the word that selects a page: "vmdebootstrap", "boot", "cache-list".
func pageName(m usage.Manual) string { return strings.TrimPrefix(m.Title, programName+"-") }

// showManual shows a page with man(1) on a terminal, and prints it elsewhere.
func showManual(cmd *cobra.Command, env environment, out io.Writer, m usage.Manual) error {
	program, err := exec.LookPath("man")
	if env.columns == 0 || err != nil {
		return m.WriteMan(out)
	}
	var page bytes.Buffer
	if err := m.WriteMan(&page); err != nil {
		return err
	}
	man := exec.CommandContext(cmd.Context(), program, "--local-file", "-")
	man.Env, man.Stdin, man.Stdout, man.Stderr = env.environ, &page, out, cmd.ErrOrStderr()
	return man.Run()
}

// writeManual writes all pages: DIRECTORY/man1/vmdebootstrap.1 and so on.
func writeManual(directory string, pages []usage.Manual) error {
	for _, m := range pages {
		name := filepath.Join(directory, fmt.Sprintf("man%d", m.Section), fmt.Sprintf("%s.%d", m.Title, m.Section))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return fmt.Errorf("--directory: %w", err)
		}
		f, err := os.Create(name)
		if err != nil {
			return fmt.Errorf("--directory: %w", err)
		}
		if err := errors.Join(m.WriteMan(f), f.Close()); err != nil {
			return fmt.Errorf("--directory: write %s: %w", name, err)
		}
	}
	return nil
}

// manualPages returns all pages: of the program, of its commands and of its config files.
func manualPages(root *cobra.Command) []usage.Manual {
	titles := groupTitles(true)
	top := newManual(usage.NewPage(root, titles, false))
	top.Chapters = programChapters()
	top.SeeAlso = append(commandPages(root), programName+".conf(5)", "debootstrap(8)", "mmdebstrap(1)", "newuidmap(1)")
	return append(append([]usage.Manual{top}, commandManuals(root, titles)...), configManual(root))
}

func newManual(page usage.Page) usage.Manual {
	return usage.Manual{
		Title: strings.ReplaceAll(page.Name, " ", "-"), Section: 1,
		Release: programName + " " + buildVersion(release, buildInfo()), Page: page,
	}
}

// commandManuals returns the pages of the commands below parent.
func commandManuals(parent *cobra.Command, titles []string) []usage.Manual {
	var all []usage.Manual
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		m := newManual(usage.NewPage(c, titles, false))
		m.SeeAlso = append([]string{strings.ReplaceAll(parent.CommandPath(), " ", "-") + "(1)"}, commandPages(c)...)
		all = append(append(all, m), commandManuals(c, titles)...)
	}
	return all
}

// commandPages returns the names of the pages of the commands right below parent.
func commandPages(parent *cobra.Command) []string {
	var names []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, strings.ReplaceAll(c.CommandPath(), " ", "-")+"(1)")
		}
	}
	return names
}

// programChapters are what only the manual says about the program.
func programChapters() []usage.Chapter {
	return []usage.Chapter{
		{Title: "Exit status", Terms: []usage.Term{
			{Name: "0", Text: "success"},
			{Name: "1", Text: "invalid or conflicting settings, or any error without a status of its own"},
			{Name: "2", Text: "a mistake in the syntax of the command line"},
			{Name: "3", Text: "a step of the build failed"},
			{Name: "4", Text: "the host lacks something; the message says what and how to get it"},
			{Name: "130", Text: "interrupted"},
		}},
		{Title: "Environment", Terms: []usage.Term{
			{Name: sourceDateEpoch, Text: "seconds since 1970: the time that the image records. Its identifiers are made from " +
				"it, so that the same settings and the same mirror make the same image, byte by byte."},
			{Name: "XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_CONFIG_DIRS",
				Text: "where cached results and config files are, see the XDG Base Directory Specification."},
			{Name: "GOMAXPROCS", Text: "the number of threads that compress a squashfs."},
			{Name: "http_proxy, https_proxy, no_proxy", Text: "the proxy for downloads."},
		}},
		{Title: "Files", Terms: []usage.Term{
			{Name: "/etc/vmdebootstrap.conf, /etc/vmdebootstrap/*.conf, ~/.vmdebootstrap.conf",
				Text: "config files, see vmdebootstrap.conf(5)."},
			{Name: "~/.cache/vmdebootstrap", Text: "downloaded packages and the results of steps, see --state-dir."},
			{Name: "/usr/share/vmdebootstrap/examples", Text: "scripts for --customize, which are found there by their names."},
			{Name: "/etc/subuid, /etc/subgid", Text: "the ranges of subordinate ids that builds use."},
		}},
	}
}

// configManual returns the page of the config files, with all settings as their keys.
func configManual(root *cobra.Command) usage.Manual {
	files := newConfigFiles(environment{etc: "/etc", environ: []string{"HOME=~", "XDG_CONFIG_HOME=~/.config"}}).list()
	m := usage.Manual{
		Title: programName + ".conf", Section: 5, Release: programName + " " + buildVersion(release, buildInfo()),
		Page: usage.Page{
			Name: programName + ".conf", Summary: "settings of vmdebootstrap",
			Long: []string{
				"A config file holds settings that a build takes where its command line does not set them. Each option of " +
					"vmdebootstrap(1) that is a setting has a key with its name, without the dashes. A later file counts more than " +
					"an earlier one, and the command line more than all.",
				"By default these files are read, if they exist, in this order: " + strings.Join(files, ", ") +
					", and all files that end in .conf or .yaml in the directories of that name below /etc, ~/.config and " +
					"$XDG_CONFIG_DIRS. --config adds a file, --no-default-configs leaves out those before it, and " +
					"--list-config-files lists them.",
				"A file whose name ends in .yaml is YAML, with the settings in the mapping \"config\". Any other is INI, with the " +
					"settings in the section [config]. Settings that are on or off take yes or no. Those that may be repeated take a " +
					"list: in INI separated by commas, where double quotes protect a comma. An unknown key is an error.",
			},
			Examples: []usage.Example{
				{Text: "INI", Call: "[config]\nmirror = http://mirror.example/debian\nroottype = btrfs\npackage = openssh-server, sudo"},
				{Text: "YAML", Call: "config:\n  mirror: http://mirror.example/debian\n  roottype: btrfs\n" +
					"  package: [openssh-server, sudo]"},
				{Text: "The present settings as a config file, passwords hidden", Call: programName + " --dump-config"},
			},
		},
		SeeAlso: []string{programName + "(1)"},
	}
	keys := usage.Chapter{Title: "Keys"}
	for _, section := range usage.NewPage(root, groupTitles(true), false).Options {
		for _, o := range section.Options {
			if section.Title != string(groupOther) {
				keys.Terms = append(keys.Terms, usage.Term{Name: o.Name + " = " + keyValue(o), Text: o.Text})
			}
		}
	}
	m.Chapters = []usage.Chapter{keys}
	return m
}

// keyValue returns the placeholder for the value of a setting.
func keyValue(o usage.Option) string {
	if o.Value == "" {
		return "yes|no"
	}
	return o.Value
}
