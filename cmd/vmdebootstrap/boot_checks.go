// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// bootChecks are the file of --checks: what must hold in the system that has booted.
type bootChecks struct {
	// loginWithin is how long it may take until the login prompt; 0 for no limit but --timeout.
	loginWithin time.Duration
	commands    []commandCheck
	// units are active, files exist, packages are installed, and ports accept TCP connections on the loopback address.
	units, files, packages []string
	ports                  []int
	diskUse                []diskUseCheck
}

// commandCheck is a shell command with what is expected of it.
type commandCheck struct {
	run    string
	status int
	output *regexp.Regexp // matches the output without its last newline; nil for any
}

// diskUseCheck is how much of the file system that has a directory may be used.
type diskUseCheck struct {
	dir  string
	most builder.Space // of percents, those of df(1)
}

// checkResult is the result of one check.
type checkResult struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	Output  string  `json:"output,omitempty"` // of a check that failed
}

// checksError says how many checks failed.
type checksError struct{ failed, all int }

func (e *checksError) Error() string { return fmt.Sprintf("%d of %d checks failed", e.failed, e.all) }

// readChecks reads a file of --checks. The error joins all mistakes, each with its line and key.
func readChecks(name string) (*bootChecks, error) {
	data, err := diskimage.ReadRegular(name)
	if err != nil {
		return nil, err
	}
	var file yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var checks bootChecks
	r := checksReader{name: name}
	if len(file.Content) > 0 {
		r.read(&checks, file.Content[0])
	}
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	if checks.loginWithin == 0 && len(checks.all()) == 0 {
		return nil, fmt.Errorf("%s: no checks", name)
	}
	return &checks, nil
}

// checksReader reads a file of --checks and collects its mistakes.
type checksReader struct {
	name     string
	problems []error
}

// problem adds a mistake at a node, which is the value of a key.
func (r *checksReader) problem(at *yaml.Node, key, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %s: %w", r.name, at.Line, key, fmt.Errorf(format, args...)))
}

// mapping calls read with the key and the value of each entry of a mapping. read may return the names of all keys, if
// it does not know this one.
func (r *checksReader) mapping(node *yaml.Node, in string, read func(key string, value *yaml.Node) (known []string)) {
	if node = target(node); node.Kind != yaml.MappingNode {
		r.problem(node, in, "want a mapping, KEY: VALUE")
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		if seen[key.Value] {
			r.problem(key, key.Value, "the key is there twice")
			continue
		}
		seen[key.Value] = true
		if known := read(key.Value, target(node.Content[i+1])); known != nil {
			r.problem(key, in, "unknown key %q%s; want one of %s", key.Value, suggest.Question(key.Value, known),
				strings.Join(known, ", "))
		}
	}
}

// checkKeys and commandKeys are the keys of the file and of a command in it.
var (
	checkKeys   = []string{"login-within", "commands", "units", "files", "packages", "ports", "disk-use"}
	commandKeys = []string{"run", "status", "output"}
)

// read reads the whole file.
func (r *checksReader) read(checks *bootChecks, node *yaml.Node) {
	r.mapping(node, "checks", func(key string, value *yaml.Node) []string {
		switch key {
		case "login-within":
			limit, err := time.ParseDuration(value.Value)
			if checks.loginWithin = limit; err != nil || limit <= 0 {
				r.problem(value, key, "%q is no time like 90s or 3m", value.Value)
			}
		case "commands":
			r.items(value, key, func(item *yaml.Node) { checks.commands = append(checks.commands, r.command(item)) })
		case "units":
			checks.units = r.texts(value, key)
		case "files":
			checks.files = r.texts(value, key)
		case "packages":
			checks.packages = r.texts(value, key)
		case "ports":
			r.items(value, key, func(item *yaml.Node) {
				var port int
				if item.Decode(&port) != nil || port < 1 || port > 65535 {
					r.problem(item, key, "%q is no number of a port from 1 to 65535", item.Value)
				}
				checks.ports = append(checks.ports, port)
			})
		case "disk-use":
			r.mapping(value, key, func(dir string, most *yaml.Node) []string {
				space, err := builder.ParseSpace(most.Value)
				if err != nil || space.Percent > 100 || !strings.HasPrefix(dir, "/") {
					r.problem(most, key, "%q: %q is no directory and how much may be used, like /: 80%% or /var: 2GB", dir,
						most.Value)
				}
				checks.diskUse = append(checks.diskUse, diskUseCheck{dir, space})
				return nil
			})
		default:
			return checkKeys
		}
		return nil
	})
}

// items calls read with each item of a list, or with the only one that there is.
func (r *checksReader) items(node *yaml.Node, key string, read func(item *yaml.Node)) {
	list := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		list = node.Content
	}
	for _, item := range list {
		if item = target(item); item.ShortTag() == "!!null" || item.Kind == yaml.ScalarNode && item.Value == "" {
			r.problem(item, key, "the value is missing")
			continue
		}
		read(item)
	}
}

// texts reads a list of texts.
func (r *checksReader) texts(node *yaml.Node, key string) []string {
	var texts []string
	r.items(node, key, func(item *yaml.Node) {
		if item.Kind != yaml.ScalarNode {
			r.problem(item, key, "want a list of texts")
			return
		}
		texts = append(texts, item.Value)
	})
	return texts
}

// command reads a command.
func (r *checksReader) command(node *yaml.Node) (c commandCheck) {
	const in = "commands"
	r.mapping(node, in, func(key string, value *yaml.Node) []string {
		switch key {
		case "run":
			c.run = value.Value
		case "status":
			if value.Decode(&c.status) != nil || c.status < 0 || c.status > 255 {
				r.problem(value, key, "%q is no exit status from 0 to 255", value.Value)
			}
		case "output":
			var err error
			if c.output, err = regexp.Compile(value.Value); err != nil {
				r.problem(value, key, "%w", err)
			}
		default:
			return commandKeys
		}
		return nil
	})
	if node.Kind == yaml.MappingNode && c.run == "" {
		r.problem(node, in, "a command without \"run\"")
	}
	return c
}

// namedCheck is a command with the name of its check.
type namedCheck struct {
	name string
	commandCheck
}

// installed matches dpkg-query's abbreviation for a package that is installed.
var installed = regexp.MustCompile("^[ih]i ")

// all returns the checks as commands, in the order in which they run.
func (c *bootChecks) all() []namedCheck {
	var all []namedCheck
	add := func(name, command string, output *regexp.Regexp) {
		all = append(all, namedCheck{name, commandCheck{run: command, output: output}})
	}
	for _, name := range c.units {
		add("unit "+name, "systemctl is-active "+shellWord(name), nil)
	}
	for _, name := range c.files {
		add("file "+name, "ls -d "+shellWord(name), nil)
	}
	for _, name := range c.packages {
		add("package "+name, "dpkg-query -W -f '${db:Status-Abbrev}\\n' "+shellWord(name), installed)
	}
	for _, port := range c.ports {
		add(fmt.Sprintf("port %d", port), fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'", port), nil)
	}
	for _, d := range c.diskUse {
		add(fmt.Sprintf("disk use of %s: at most %s", d.dir, d.most), d.command(), nil)
	}
	for _, command := range c.commands {
		all = append(all, namedCheck{command.run, command})
	}
	return all
}

// command returns the command that shows the use and compares it in the guest: messages of its kernel may come in
// between on the console.
func (d diskUseCheck) command() string {
	field, most := "pcent", d.most.Percent
	if d.most.Bytes > 0 {
		field, most = "used", uint64(d.most.Bytes)
	}
	df := "df -B1 --output=" + field
	return fmt.Sprintf("df -h %[1]s; test \"$(%[2]s %[1]s | tail -n 1 | tr -dc 0-9)\" -le %[3]d", shellWord(d.dir), df,
		most)
}

// bootsOn waits until systemd has started everything, so that a unit that is still starting does not fail its check.
// The status does not count: systemd has one for a system with units that failed, which the checks may allow.
const bootsOn = "test ! -d /run/systemd/system || systemctl is-system-running --wait"

// runChecks runs the checks in a machine with a shell at its console. It stops when the console ends.
func (b *bootCall) runChecks(ctx context.Context, machine *vm.VM, result *bootResult) error {
	if limit := b.checks.loginWithin; limit > 0 {
		check := checkResult{Name: "login within " + limit.String()} // its time is that of the boot
		if check.OK = result.Seconds <= limit.Seconds(); !check.OK {
			check.Error = fmt.Sprintf("it took %.1f s", result.Seconds)
		}
		result.Checks = append(result.Checks, check)
	}
	if _, _, err := machine.Run(ctx, bootsOn); err != nil {
		return err
	}
	for _, c := range b.checks.all() {
		began := b.env.now()
		output, status, err := machine.Run(ctx, c.run)
		check := checkResult{Name: c.name, Seconds: b.env.now().Sub(began).Round(time.Millisecond).Seconds()}
		switch {
		case err != nil:
			check.Error = err.Error()
		case status != c.status:
			check.Error = fmt.Sprintf("exit status %d, want %d", status, c.status)
		case c.output != nil && !c.output.MatchString(strings.TrimSuffix(output, "\n")):
			check.Error = fmt.Sprintf("the output does not match %q", c.output)
		default:
			check.OK = true
		}
		if !check.OK {
			check.Output = output
		}
		result.Checks = append(result.Checks, check)
		if err != nil {
			return err
		}
	}
	if failed := result.failedChecks(); failed > 0 {
		return &checksError{failed, len(result.Checks)}
	}
	return nil
}

// failedChecks returns the number of checks that failed.
func (r bootResult) failedChecks() int {
	failed := 0
	for _, c := range r.Checks {
		if !c.OK {
			failed++
		}
	}
	return failed
}

// shellWord returns a text as one word of a shell.
func shellWord(text string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%"
	if text != "" && strings.Trim(text, safe) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
