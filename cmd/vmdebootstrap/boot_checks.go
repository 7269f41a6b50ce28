// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// bootChecks are the file of --checks: what must hold in the system that has booted.
type bootChecks struct {
	// LoginWithin is how long it may take until the login prompt; 0 for no limit but --timeout.
	LoginWithin time.Duration  `yaml:"login-within"`
	Commands    []commandCheck `yaml:"commands"`
	// Units are active, Files exist, Packages are installed, and Ports accept TCP connections on the loopback address.
	Units    []string `yaml:"units"`
	Files    []string `yaml:"files"`
	Packages []string `yaml:"packages"`
	Ports    []uint16 `yaml:"ports"`
}

// commandCheck is a shell command with what is expected of it.
type commandCheck struct {
	Run    string `yaml:"run"`
	Status int    `yaml:"status"`
	Output string `yaml:"output"` // a regular expression for the output without its last newline; "" for any
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

// readChecks reads a file of --checks.
func readChecks(name string) (*bootChecks, error) {
	data, err := diskimage.ReadRegular(name)
	if err != nil {
		return nil, err
	}
	var checks bootChecks
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&checks); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, c := range checks.Commands {
		if c.Run == "" {
			return nil, fmt.Errorf("%s: a command without \"run\"", name)
		}
		if _, err := regexp.Compile(c.Output); err != nil {
			return nil, fmt.Errorf("%s: output of %q: %w", name, c.Run, err)
		}
	}
	if checks.LoginWithin == 0 && len(checks.all()) == 0 {
		return nil, fmt.Errorf("%s: no checks", name)
	}
	return &checks, nil
}

// namedCheck is a command with the name of its check.
type namedCheck struct {
	name string
	commandCheck
}

// all returns the checks as commands, in the order in which they run.
func (c *bootChecks) all() []namedCheck {
	var all []namedCheck
	for _, name := range c.Units {
		all = append(all, namedCheck{"unit " + name,
			commandCheck{Run: "systemctl is-active " + shellWord(name)}})
	}
	for _, name := range c.Files {
		all = append(all, namedCheck{"file " + name, commandCheck{Run: "ls -d " + shellWord(name)}})
	}
	for _, name := range c.Packages {
		all = append(all, namedCheck{"package " + name,
			commandCheck{Run: "dpkg-query -W -f '${db:Status-Abbrev}\\n' " + shellWord(name), Output: "^[ih]i "}})
	}
	for _, port := range c.Ports {
		all = append(all, namedCheck{fmt.Sprintf("port %d", port),
			commandCheck{Run: fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'", port)}})
	}
	for _, command := range c.Commands {
		all = append(all, namedCheck{command.Run, command})
	}
	return all
}

// runChecks runs the checks in a machine with a shell at its console. It stops when the console ends.
func (b *bootCall) runChecks(ctx context.Context, machine *vm.VM, result *bootResult) error {
	if limit := b.checks.LoginWithin; limit > 0 {
		check := checkResult{Name: "login within " + limit.String(), Seconds: result.Seconds}
		if check.OK = result.Seconds <= limit.Seconds(); !check.OK {
			check.Error = fmt.Sprintf("it took %.1f s", result.Seconds)
		}
		result.Checks = append(result.Checks, check)
	}
	for _, c := range b.checks.all() {
		began := b.env.now()
		output, status, err := machine.Run(ctx, c.Run)
		check := checkResult{Name: c.name, Seconds: b.env.now().Sub(began).Round(time.Millisecond).Seconds()}
		switch {
		case err != nil:
			check.Error = err.Error()
		case status != c.Status:
			check.Error = fmt.Sprintf("exit status %d, want %d", status, c.Status)
		case !regexp.MustCompile(c.Output).MatchString(strings.TrimSuffix(output, "\n")):
			check.Error = fmt.Sprintf("the output does not match %q", c.Output)
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
	failed := 0
	for _, c := range result.Checks {
		if !c.OK {
			failed++
		}
	}
	if failed > 0 {
		return &checksError{failed, len(result.Checks)}
	}
	return nil
}

// junitSuite is the root of a JUnit file, in the form that GitLab, Jenkins and GitHub's actions read
// (https://github.com/testmoapp/junitxml).
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     float64     `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    float64       `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// newJUnit returns the boot, --run and the checks as test cases.
func newJUnit(r bootResult) junitSuite {
	class := "boot." + r.Firmware
	suite := junitSuite{Name: r.Image}
	add := func(c junitCase) {
		c.Class = class
		suite.Cases = append(suite.Cases, c)
		suite.Tests++
		suite.Time += c.Time
		if c.Failure != nil {
			suite.Failures++
		}
	}
	boot := junitCase{Name: "boot", Time: r.Seconds}
	failed := slices.ContainsFunc(r.Checks, func(c checkResult) bool { return !c.OK })
	if r.Error != "" && !failed {
		boot.Failure = &junitFailure{Message: r.Error, Text: r.Console}
	}
	add(boot)
	for _, c := range r.Checks {
		testCase := junitCase{Name: c.Name, Time: c.Seconds}
		if !c.OK {
			testCase.Failure = &junitFailure{Message: c.Error, Text: c.Output}
		}
		add(testCase)
	}
	return suite
}

// writeJUnit writes the file of --junit.
func writeJUnit(ctx context.Context, name string, r bootResult) error {
	text, err := xml.MarshalIndent(newJUnit(r), "", "  ")
	if err != nil {
		return err
	}
	return diskimage.WriteFile(ctx, name, 0o666, func(f *os.File) error {
		_, err := f.WriteString(xml.Header + string(text) + "\n")
		return err
	})
}

// shellWord returns a text as one word of a shell.
func shellWord(text string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%"
	if text != "" && strings.Trim(text, safe) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
