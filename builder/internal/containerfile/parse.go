// SPDX-License-Identifier: Apache-2.0

// Package containerfile reads Containerfiles, which are Dockerfiles under another name, and says what their
// instructions do to a root file system.
//
// The language is that of Docker's own builder, BuildKit, whose parser reads it:
// https://docs.docker.com/reference/dockerfile/. Parse reads the text, File.Stages evaluates ARG, ENV, SHELL, USER and
// WORKDIR, and a Context finds the files that COPY and ADD name. Nothing here runs a program or writes a file.
//
// Not supported, each an error with the line: ADD of a Git repository, ONBUILD, FROM and COPY --from of a platform
// other than the one that is built for, RUN with --network=none or --device, and mounts of the type ssh.
package containerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// File is a Containerfile that has been read.
type File struct {
	name   string
	escape rune
	nodes  []*parser.Node
}

// Error is a mistake in a Containerfile.
type Error struct {
	// File is the name of the Containerfile, and Line the line where the instruction begins, counted from 1; 0 if the
	// mistake is in no line.
	File string
	Line int
	Err  error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Parse reads a Containerfile. The error joins all mistakes, each an *Error with the given name.
func Parse(name string, text []byte) (*File, error) {
	result, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, locate(name, err)
	}
	f := &File{name: name, escape: result.EscapeToken, nodes: result.AST.Children}
	_, _, err = f.instructions()
	return f, err
}

// instructions returns the ARG instructions before the first FROM, and the stages. They are new ones each time: their
// evaluation changes them.
func (f *File) instructions() (args []*instructions.ArgCommand, stages []*instructions.Stage, err error) {
	var problems []error
	for _, node := range f.nodes {
		parsed, err := instructions.ParseInstruction(node)
		if err != nil {
			problems = append(problems, locate(f.name, err))
			continue
		}
		switch c := parsed.(type) {
		case *instructions.Stage:
			stages = append(stages, c)
		case instructions.Command:
			arg, isArg := c.(*instructions.ArgCommand)
			switch {
			case len(stages) > 0:
				stages[len(stages)-1].AddCommand(c)
			case isArg:
				args = append(args, arg)
			default:
				problems = append(problems, &Error{f.name, node.StartLine,
					fmt.Errorf("%s before the first FROM", strings.ToUpper(c.Name()))})
			}
		}
	}
	if len(problems) == 0 && len(stages) == 0 {
		problems = append(problems, &Error{f.name, 0, errors.New("there is no FROM")})
	}
	return args, stages, errors.Join(problems...)
}

// locate returns an error of the parser with its line.
func locate(name string, err error) error {
	var located *parser.LocationError
	if !errors.As(err, &located) {
		return &Error{name, 0, err}
	}
	return &Error{name, line(located.Locations[0]), located.Unwrap()}
}

// line returns the first line of a location.
func line(location []parser.Range) int {
	if len(location) == 0 {
		return 0
	}
	return location[0].Start.Line
}
