// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/usage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// programName is the program's name in messages.
const programName = "vmdebootstrap"

// Exit statuses. Those up to 2 are those of vmdebootstrap 1.7.
const (
	exitOK          = 0
	exitFailed      = 1   // any error without a status of its own, such as mistakes in the settings
	exitUsage       = 2   // a command line that does not follow the grammar
	exitStep        = 3   // a step of the build failed
	exitHost        = 4   // the host lacks something
	exitInterrupted = 130 // as shells report a program that SIGINT ended
)

// usageError is a command line that does not follow the grammar.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// run runs the program with the words after its name, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env environment) int {
	root, flags := newRoot(env, stdout, stderr)
	words, err := cobraArgs(root, flags, args)
	if err != nil {
		return report(ctx, stderr, root, err)
	}
	root.SetArgs(words)
	root.SetOut(stdout)
	root.SetErr(stderr)
	called, err := execute(ctx, root)
	return report(ctx, stderr, called, err)
}

// oneArgument returns the rule of a verb that takes one word besides its options.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usageErrorf("%s is missing", what)
		case 1:
			return nil
		}
		return usageErrorf("unexpected argument %q after %s", args[1], what)
	}
}

// buildVerb is the verb that need not be given.
const buildVerb = "build"

// cobraArgs returns the arguments as cobra parses them. Those of a build are in the grammar of vmdebootstrap 1.7. A
// first word that is neither a verb nor an option is an error: it is a mistyped verb, and no build that nobody wants
// begins. In any other position such a word is ignored, as in vmdebootstrap 1.7; after the verb build it names an image
// file.
func cobraArgs(root *cobra.Command, flags *pflag.FlagSet, args []string) ([]string, error) {
	switch {
	case len(args) == 0 || args[0] == "" || strings.HasPrefix(args[0], "-"):
		return expand(flags, args)
	case args[0] == buildVerb:
		verb, _, err := root.Find(args[:1])
		if err != nil {
			return nil, err
		}
		words, files, err := expandWith(verb.Flags(), args[1:])
		return slices.Concat([]string{buildVerb}, words, []string{"--"}, files), err
	case args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd:
		plainUsages(root)
		return args, nil
	}
	if !slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == args[0] }) {
		return nil, unknownCommand(root, args[0], ", or the options of a build")
	}
	return args, nil
}

// unknownCommand returns the error for a word that is none of a command's verbs; instead names what else is possible.
func unknownCommand(parent *cobra.Command, word, instead string) error {
	var verbs []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			verbs = append(verbs, c.Name())
		}
	}
	return usageErrorf("unknown command %q; want one of %s%s%s", word, strings.Join(verbs, ", "), instead,
		suggest.Question(word, verbs))
}

// execute runs the command that the arguments name. It returns a panic as an error; deferred functions have
// then cleaned up.
func execute(ctx context.Context, root *cobra.Command) (called *cobra.Command, err error) {
	called = root
	defer func() {
		if value := recover(); value != nil {
			err = &bugError{guard.Panic{Value: value, Stack: debug.Stack()}}
		}
	}()
	return root.ExecuteContextC(ctx)
}

// bugError is a panic that nothing else has recovered from.
type bugError struct{ panic guard.Panic }

// Error describes the panic in one sentence. Our own panics begin with BUG already.
func (e *bugError) Error() string {
	text := strings.TrimPrefix(fmt.Sprint(e.panic.Value), "BUG: ")
	return "BUG: " + strings.Join(strings.Fields(text), " ") + " (please report it at " + bugReports +
		", with the output of --log=FILE)"
}

// bugReports is the issue tracker.
const bugReports = "https://github.com/vmdebootstrap/vmdebootstrap/issues"

// logBug, which must be deferred, logs a panic with its trace and panics again.
func logBug(log *slog.Logger) {
	if value := recover(); value != nil {
		logTrace(log, &guard.Panic{Value: value, Stack: debug.Stack()})
		panic(value)
	}
}

// logTrace logs the trace of a panic, line by line.
func logTrace(log *slog.Logger, p *guard.Panic) {
	log.Log(context.Background(), levelCritical, fmt.Sprintf("panic: %v", p.Value))
	for line := range strings.Lines(string(p.Stack)) {
		log.Debug(strings.TrimRight(line, "\n"))
	}
}

// report prints the error of a command and returns the exit status for it.
func report(ctx context.Context, stderr io.Writer, called *cobra.Command, err error) int {
	var syntax *usageError
	var step *builder.StepError
	var child childStatus
	var host *oci.HostError
	var bug *bugError
	var failed failedImages
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failed):
		return failed.status
	case errors.As(err, &bug):
		fmt.Fprintln(stderr, bug)
		return exitFailed
	case errors.As(err, &child):
		// The child has said what was wrong, unless somebody else has killed it.
		if signal := child.signal(); signal != 0 && ctx.Err() == nil {
			fmt.Fprintf(stderr, "ERROR: the process that built was killed by signal %d (%s)\n"+
				"HINT: if the machine ran out of memory, its kernel log says so; the next build removes what is left\n",
				signal, signal)
		}
		return int(child)
	case errors.As(err, &host):
		fmt.Fprintf(stderr, "ERROR: %v\nHINT: %s\n", err, host.Fix)
		return exitHost
	case errors.As(err, &syntax):
		line := programName + " [options]"
		if called.HasParent() {
			line = usage.Synopsis(called)
		}
		fmt.Fprintf(stderr, "Usage: %s\n\n%s: error: %v\n", line, programName, err)
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "ERROR: interrupted\n")
		return exitInterrupted
	}
	failedStep := errors.As(err, &step)
	if failedStep && step.Output != "" {
		fmt.Fprintln(stderr, step.Output)
	}
	for _, e := range builder.Flatten(err) {
		fmt.Fprintf(stderr, "ERROR: %v\n", e)
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(stderr, "HINT: %s\n", hint)
	}
	if failedStep {
		return exitStep
	}
	if _, trouble := errors.AsType[troubleError](err); trouble {
		return exitUsage
	}
	return exitFailed
}

// childStatus is the exit status of the program's second run, which has reported its own errors.
type childStatus int

func (s childStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// signal returns the signal that has ended the process, in the form in which shells report it; 0 for none.
func (s childStatus) signal() syscall.Signal {
	if s <= 128 || s == exitInterrupted {
		return 0
	}
	return syscall.Signal(s - 128)
}

// hintFor returns advice on an error, which its type decides; "" if there is none.
func hintFor(err error) string {
	var full *fullError
	var space *builder.SpaceError
	var ids *builder.IDError
	var expired *archive.ExpiredError
	var gone *archive.GoneError
	var schema *lockfile.SchemaError
	var damaged *lockfile.DamagedError
	var untrusted *archive.UntrustedError
	var missing *builder.MissingError
	var tools *builder.ToolsError
	var repository *builder.RepositoryError
	var page *archive.PageError
	var absent *builder.AbsentError
	var unseen *vm.NotSeenError
	var network *net.OpError
	switch {
	case errors.As(err, &full):
		return "the file system of " + full.dir + " is full: make room there" + full.option
	case errors.As(err, &space):
		return "make room there, or name other directories, with --state-dir for the state of builds"
	case errors.As(err, &ids):
		return fmt.Sprintf("have root give you a range of more than %d ids in /etc/subuid and /etc/subgid, or use "+
			"--isolation single", ids.ID)
	case errors.As(err, &missing):
		return missingHint(missing)
	case errors.As(err, &tools):
		hint := "--tools-mirror URL names a mirror that has " + strings.Join(tools.Suites, " or ") + " of Debian"
		if errors.As(err, &expired) {
			hint += ", and --allow-expired accepts one that is known to be old"
		}
		return hint
	case errors.As(err, &gone):
		return "--snapshot " + gone.Made.UTC().Format(builder.SnapshotLayout) + ", or a time some hours later, looks for " +
			"it in Debian's snapshot archive"
	case errors.As(err, &schema):
		return "use " + cmp.Or(schema.Program, "the program that has written it") + " for this lock; a build without the " +
			"file writes another one, of what the archives have now"
	case errors.As(err, &damaged):
		return "take the lock from a copy of it; a build without the file writes another one, of what the archives have now"
	case errors.As(err, &expired):
		return "if the archive is known to be old, --allow-expired accepts it, and so does SOURCE_DATE_EPOCH, which counts " +
			"as today; its signature is verified all the same"
	case errors.As(err, &absent):
		return "what the mirror lacks is at --mirror " + absent.Mirror
	case errors.As(err, &page):
		return "a network that wants a login answers everything with a page: log in there with a browser; behind a proxy, " +
			"set http_proxy"
	case errors.As(err, &unseen) && unseen.Reason == vm.Hung && unseen.Tail == "":
		return "if the image has no serial console, build it with --serial-console"
	case errors.As(err, &unseen) && unseen.Reason == vm.Locked:
		return "--luks-passphrase FILE types the passphrase"
	case errors.As(err, &untrusted) && untrusted.Bad != nil:
		return "the mirror may be damaged, outdated or not what it claims to be: try again later, or another --mirror"
	case untrusted != nil && errors.As(err, &repository):
		return "if this is the right repository, name the file with its key: --repository-key FILE"
	case untrusted != nil:
		return "if this is the right archive, name the keyring with its key: --debootstrapopts keyring=FILE"
	case errors.As(err, &network) && network.Op == "proxyconnect":
		return "correct or unset http_proxy and https_proxy, which name the proxy"
	case network != nil:
		return "check the address and the network; behind a proxy, set http_proxy and https_proxy"
	}
	return absentHint(err)
}

// missingHint names the options that bring packages of other components or suites of the mirror.
func missingHint(e *builder.MissingError) string {
	components := slices.Clone(e.Components)
	var hints []string
	for _, f := range e.Found {
		if !slices.Contains(components, f.Component) {
			components = append(components, f.Component)
		}
		if f.Suite != e.Suite {
			hints = append(hints, fmt.Sprintf("--package %s/%s takes it from there if a script of --hook essential:SCRIPT "+
				"adds %s to the sources", f.Package, f.Suite, f.Suite))
		}
	}
	if len(components) > len(e.Components) {
		hints = slices.Insert(hints, 0, "--debootstrapopts components="+strings.Join(components, ",")+
			" has the packages of these components")
	}
	return strings.Join(hints, "; ")
}
