// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Options are what the instructions of a Containerfile depend on.
type Options struct {
	// Args are the values of --build-arg, as NAME=VALUE.
	Args []string
	// Arch and Variant are what container images call the architecture.
	Arch, Variant string
	// Base returns the configuration of an image that a stage begins with. An error says why it cannot be one.
	Base func(image string) (Config, error)
}

// Config is the part of an image's configuration that instructions depend on.
type Config struct {
	// Env has variables as NAME=VALUE.
	Env           []string
	User, Workdir string
	Shell         []string
}

// Stage is what one FROM begins, evaluated.
type Stage struct {
	Name string
	Line int
	// Parent is the index of the stage that it continues, or -1: then Image is the image that it begins with.
	Parent int
	Image  string
	// Uses are the indexes of the stages that it copies or mounts files of, without Parent.
	Uses         []int
	Instructions []Instruction
	// Described are instructions about a process of a container, which a disk image does not have, in their order: those
	// that do nothing else, ENV, and the last USER if it is not root. Those of the stage that it continues are among them.
	Described []Instruction

	config Config
}

// Stages evaluates the instructions. The error joins all mistakes, each an *Error.
func (f *File) Stages(o Options) ([]Stage, error) {
	var problems []error
	fail := func(line int, err error) { problems = append(problems, &Error{f.name, line, err}) }
	args, all, err := f.instructions()
	if err != nil {
		return nil, err
	}
	global, err := f.globalArgs(args, o)
	if err != nil {
		return nil, err
	}
	var stages []Stage
	for _, parsed := range all {
		stage, err := f.begin(parsed, stages, global, o)
		if err != nil {
			fail(line(parsed.Location), err)
		}
		e := &evaluation{stages: stages, stage: &stage, options: o, global: global, lex: shell.NewLex(f.escape),
			env: variables(stage.config.Env), args: map[string]string{}}
		for _, c := range parsed.Commands {
			if err := e.add(c); err != nil {
				fail(line(c.Location()), fmt.Errorf("%s: %w", strings.ToUpper(c.Name()), err))
			}
		}
		stage.config.Env = e.env.list()
		stages = append(stages, stage)
	}
	return stages, errors.Join(problems...)
}

// Unused returns the names of Args that no ARG declares, sorted.
func (f *File) Unused(args []string) []string {
	declared := map[string]bool{}
	note := func(c *instructions.ArgCommand) {
		for _, a := range c.Args {
			declared[a.Key] = true
		}
	}
	before, stages, err := f.instructions()
	if err != nil {
		panic("BUG: not parsed: " + err.Error())
	}
	for _, c := range before {
		note(c)
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			if arg, ok := c.(*instructions.ArgCommand); ok {
				note(arg)
			}
		}
	}
	unused := variables(args)
	maps.DeleteFunc(unused, func(name, _ string) bool { return declared[name] || isProxy(name) })
	return slices.Sorted(maps.Keys(unused))
}

// globalArgs returns the arguments that FROM may use, and that a stage may declare without a value.
func (f *File) globalArgs(args []*instructions.ArgCommand, o Options) (variableSet, error) {
	global := variableSet{
		"TARGETPLATFORM": "linux/" + o.Arch, "TARGETOS": "linux", "TARGETARCH": o.Arch, "TARGETVARIANT": o.Variant,
		"BUILDPLATFORM": "linux/" + o.Arch, "BUILDOS": "linux", "BUILDARCH": o.Arch, "BUILDVARIANT": o.Variant,
	}
	if o.Variant != "" {
		global["TARGETPLATFORM"] += "/" + o.Variant
		global["BUILDPLATFORM"] = global["TARGETPLATFORM"]
	}
	given := variables(o.Args)
	lex := shell.NewLex(f.escape)
	for _, c := range args {
		for _, a := range c.Args {
			value, ok := given[a.Key]
			if !ok && a.Value == nil {
				continue
			}
			if !ok {
				var err error
				if value, _, err = lex.ProcessWord(*a.Value, global.getter()); err != nil {
					return nil, &Error{f.name, line(c.Location()), err}
				}
			}
			global[a.Key] = value
		}
	}
	return global, nil
}

// scratch is the name of the empty image.
const scratch = "scratch"

// begin returns a stage without its instructions.
func (f *File) begin(parsed *instructions.Stage, before []Stage, global variableSet, o Options) (Stage, error) {
	s := Stage{Name: parsed.Name, Line: line(parsed.Location), Parent: -1}
	lex := shell.NewLex(f.escape)
	base, _, err := lex.ProcessWord(parsed.BaseName, global.getter())
	if err != nil {
		return s, fmt.Errorf("FROM: %w", err)
	}
	platform, _, err := lex.ProcessWord(parsed.Platform, global.getter())
	switch {
	case err != nil:
		return s, fmt.Errorf("FROM: %w", err)
	case base == "":
		return s, fmt.Errorf("FROM: %q is empty", parsed.BaseName)
	case platform != "" && platform != global["TARGETPLATFORM"] && platform != "linux/"+o.Arch:
		return s, fmt.Errorf("FROM: --platform=%s: only %s is built for", platform, global["TARGETPLATFORM"])
	}
	if s.Name != "" {
		if i := findStage(before, s.Name); i >= 0 {
			return s, fmt.Errorf("FROM: the stage of line %d is called %q as well", before[i].Line, s.Name)
		}
	}
	if i := findStage(before, base); i >= 0 {
		s.Parent, s.config, s.Described = i, before[i].config, slices.Clone(before[i].Described)
		return s, nil
	}
	s.Image = base
	if base == scratch {
		return s, nil
	}
	s.config, err = o.Base(base)
	if err != nil {
		return s, fmt.Errorf("FROM: %w", err)
	}
	return s, nil
}

// findStage returns the index of a stage by its name, or -1.
func findStage(stages []Stage, name string) int {
	return slices.IndexFunc(stages, func(s Stage) bool { return s.Name != "" && strings.EqualFold(s.Name, name) })
}

// stageNumber returns the index of a stage by its name or number.
func stageNumber(stages []Stage, name string) (int, error) {
	if i := findStage(stages, name); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(stages) {
		return i, nil
	}
	return -1, fmt.Errorf("there is no stage %q before this one: files of an image are copied from a stage that begins "+
		"with it", name)
}
