// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/xml"
	"slices"
	"strconv"
	"time"
)

// junitSuites is the root of a JUnit file: a suite for each image, in the form that GitLab, Jenkins and GitHub's
// actions read (https://github.com/testmoapp/junitxml).
type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr"`
	junitCounts
	Suites []*junitSuite `xml:"testsuite"`
}

// junitCounts are the sums over test cases.
type junitCounts struct {
	Tests    int       `xml:"tests,attr"`
	Failures int       `xml:"failures,attr"`
	Errors   int       `xml:"errors,attr"`
	Time     junitTime `xml:"time,attr"`
}

// junitTime is a time in seconds, never with an exponent.
type junitTime float64

func (t junitTime) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(t), 'f', 3, 64), nil
}

// junitSuite is what was tested of one image.
type junitSuite struct {
	Name      string `xml:"name,attr"`
	Timestamp string `xml:"timestamp,attr"`
	junitCounts
	Cases []junitCase `xml:"testcase"`
}

// junitCase is a boot or a check, which failed if Failure is there. An Error is something that was not about the image.
type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    junitTime     `xml:"time,attr"`
	Error   *junitFailure `xml:"error,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	// Output of the first case that failed names the picture of the screen, as GitLab and Jenkins find it.
	Output string `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// newJUnit returns the boots, --run and the checks as test cases.
func newJUnit(results []bootResult) junitSuites {
	all := junitSuites{Name: programName + " boot"}
	suites := map[string]*junitSuite{}
	for _, r := range results {
		suite := suites[r.name]
		if suite == nil {
			suite = &junitSuite{Name: r.name, Timestamp: r.began.UTC().Format(time.DateOnly + "T15:04:05")}
			suites[r.name], all.Suites = suite, append(all.Suites, suite)
		}
		for _, c := range r.junitCases() {
			c.Class = "boot." + r.Firmware
			suite.Cases = append(suite.Cases, c)
			suite.count(c)
			all.count(c)
		}
	}
	return all
}

func (n *junitCounts) count(c junitCase) {
	n.Tests++
	n.Time += c.Time
	if c.Failure != nil {
		n.Failures++
	}
	if c.Error != nil {
		n.Errors++
	}
}

// junitCases returns the boot, which has the failure of --run as well, and the checks.
func (r bootResult) junitCases() []junitCase {
	boot := junitCase{Name: "boot", Time: junitTime(r.Seconds)}
	switch {
	case r.Error == "" || r.failedChecks() > 0:
	case r.started:
		boot.Failure = &junitFailure{Message: r.Error, Text: r.Console}
	default:
		boot.Error = &junitFailure{Message: r.Error}
	}
	cases := []junitCase{boot}
	for _, c := range r.Checks {
		testCase := junitCase{Name: c.Name, Time: junitTime(c.Seconds)}
		if !c.OK {
			testCase.Failure = &junitFailure{Message: c.Error, Text: c.Output}
		}
		cases = append(cases, testCase)
	}
	failed := slices.IndexFunc(cases, func(c junitCase) bool { return c.Failure != nil })
	if failed >= 0 && r.Screenshot != "" {
		cases[failed].Output = "[[ATTACHMENT|" + r.Screenshot + "]]"
	}
	return cases
}

// writeJUnit writes the file of --junit. Characters that XML does not allow become U+FFFD.
func writeJUnit(ctx context.Context, name string, results []bootResult) error {
	text, err := xml.MarshalIndent(newJUnit(results), "", "  ")
	if err != nil {
		return err
	}
	return writeOutput(ctx, name, []byte(xml.Header+string(text)+"\n"))
}
