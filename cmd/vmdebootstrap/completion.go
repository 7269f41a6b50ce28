// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// newCompletionVerb returns the command "vmdebootstrap completion", which prints the completion script for a shell.
func newCompletionVerb(out io.Writer) *cobra.Command {
	shells := map[string]func(root *cobra.Command) error{
		"bash": func(root *cobra.Command) error { return root.GenBashCompletionV2(out, true) },
		"fish": func(root *cobra.Command) error { return root.GenFishCompletion(out, true) },
		"zsh":  func(root *cobra.Command) error { return root.GenZshCompletion(out) },
	}
	names := []string{"bash", "fish", "zsh"}
	return &cobra.Command{
		Use:   "completion bash|fish|zsh",
		Short: "print the completion script for a shell",
		Long: `Print a script that completes commands, options and their values in a shell. A package installs these scripts; the
one for bash needs the package bash-completion.`,
		Example: `
# For this bash
source <(vmdebootstrap completion bash)
# For every zsh of this user, if the directory is in $fpath
vmdebootstrap completion zsh > ~/.zfunc/_vmdebootstrap`,
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		Args:              oneArgument("the name of a shell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			script := shells[args[0]]
			if script == nil {
				return usageErrorf("unknown shell %q; want one of %s%s", args[0], strings.Join(names, ", "),
					suggest.Question(args[0], names))
			}
			return script(cmd.Root())
		},
	}
}

// completeCommands completes the words after "help".
func completeCommands(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range about.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// valueWords are words that values of options can be, by option. Those that are not listed here take the name of a file
// or any text.
func valueWords() map[string][]string {
	return map[string][]string{
		"roottype": builder.RootTypes(), "boottype": builder.BootTypes(), "boot": builder.BootLoaders(),
		"distribution": builder.Suites(), "arch": builder.Arches(), "isolation": oci.Isolations(), "format": format.Names(),
		"firmware": vm.Firmwares(), "accel": {"kvm", vm.Software},
		"part-type": builder.TableTypes(), "log-level": logLevelNames, "log": {"syslog", "stderr", "none"},
		"export-compression": {"gzip", "zstd", "none"}, "sector-size": {"512", "4096"}, "size": {auto},
		"sbom":      sbomPrefixes(),
		"build-arg": nil, "secret": nil,
		"pockets": builder.PocketWords(), "dpkg-arch": builder.Arches(),
	}
}

// completeValues registers the values of options with a shell's completion, in all commands.
func completeValues(env environment, root *cobra.Command) {
	files := []string{"log", "export", "size", "sbom"} // whose values can also be names of files
	forEachCommand(root, func(cmd *cobra.Command) {
		for name, words := range valueWords() {
			directive := cobra.ShellCompDirectiveNoFileComp
			if slices.Contains(files, name) {
				directive = cobra.ShellCompDirectiveDefault
			}
			if cmd.Flags().Lookup(name) != nil {
				registerValues(cmd, name, cobra.FixedCompletions(words, directive))
			}
		}
		if cmd.Flags().Lookup("package") != nil {
			registerValues(cmd, "package", env.completePackages)
		}
	})
}

// sbomPrefixes are the beginnings of the values of --sbom.
func sbomPrefixes() []string {
	var prefixes []string
	for _, format := range builder.SBOMFormats() {
		prefixes = append(prefixes, format+":")
	}
	return prefixes
}

// forEachCommand calls do with all commands below root and root itself.
func forEachCommand(root *cobra.Command, do func(*cobra.Command)) {
	do(root)
	for _, c := range root.Commands() {
		forEachCommand(c, do)
	}
}

// registerValues registers the values of an option, unless its command has done that. Commands that share an option
// share its values.
func registerValues(cmd *cobra.Command, name string, values cobra.CompletionFunc) {
	if _, registered := cmd.GetFlagCompletionFunc(name); registered {
		return
	}
	if err := cmd.RegisterFlagCompletionFunc(name, values); err != nil {
		panic("BUG: " + err.Error())
	}
}

// plainUsages gives options the descriptions that shells show: the first sentence of their help without its marks.
func plainUsages(root *cobra.Command) {
	forEachCommand(root, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, text := pflag.UnquoteUsage(f)
			text, _, _ = strings.Cut(text, "; ")
			f.Usage, _, _ = strings.Cut(text, " (default")
		})
	})
}

// packageNamesFile returns the file with the names of the packages of a suite, in the directory of cached packages.
func packageNamesFile(stateDir, distribution, arch string) string {
	return filepath.Join(packagesDir(stateDir), "names", filepath.Base(distribution)+"_"+filepath.Base(arch))
}

// savePackageNames keeps the names of all packages for the completion of --package.
func savePackageNames(stateDir string, o builder.Options, index *archive.Index) error {
	name := packageNamesFile(stateDir, o.Distribution, o.Arch)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	last := ""
	for p := range index.All() {
		if p.Name != last {
			fmt.Fprintln(w, p.Name)
			last = p.Name
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// completePackages completes the names of packages, if a build has read those of the suite.
func (e environment) completePackages(cmd *cobra.Command, _ []string, prefix string) ([]string,
	cobra.ShellCompDirective) {
	value := func(name string) string { return cmd.Flags().Lookup(name).Value.String() }
	dir, err := e.stateDir(value("state-dir"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	text, err := e.readFile(packageNamesFile(dir, value("distribution"), value("arch")))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeCached completes the IDs of cached results. Another process lists them, because the one that completes is not
// inside the namespaces that they belong to.
func (e environment) completeCached(ctx context.Context, stateDir string) ([]string, cobra.ShellCompDirective) {
	list := exec.CommandContext(ctx, "/proc/self/exe", "cache", "list", "--json", "--state-dir", stateDir)
	list.Args[0], list.Dir, list.Env = programName, e.dir, e.environ
	text, err := list.Output()
	var listed cacheContent
	if err := errors.Join(err, json.Unmarshal(text, &listed)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, r := range listed.Results {
		ids = append(ids, cobra.CompletionWithDesc(r.ID, r.Title))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
