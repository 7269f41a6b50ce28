// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// inputError is the error of a file that an argument of the call names, and that cannot be read.
type inputError struct {
	err error
	// from says what makes such a file; "" for a file of the user's own.
	from string
}

func (e *inputError) Error() string { return e.err.Error() }

func (e *inputError) Unwrap() error { return e.err }

// absentHint returns advice if an option or an argument names a file, or the directory of an output, that does not
// exist; "" for other errors.
func absentHint(err error) string {
	for _, e := range builder.Flatten(err) {
		var problem *builder.Problem
		var input *inputError
		var output *builder.NoDirectoryError
		var path *fs.PathError
		switch {
		case errors.As(e, &output):
			return "make the directory " + output.Dir + " first, or name a file elsewhere"
		case !errors.As(e, &problem) && !errors.As(e, &input):
		case !errors.As(e, &path) || !errors.Is(path, fs.ErrNotExist):
		default:
			hint := nearFiles(path.Path)
			if input != nil && input.from != "" {
				hint += "; " + input.from
			}
			return hint
		}
	}
	return ""
}

// nearFiles says which files of its directory may have been meant by the name of one that does not exist.
func nearFiles(name string) string {
	dir, base := filepath.Dir(name), filepath.Base(name)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("there is no directory %s either: check the name", dir)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if dir == "." {
		dir = "the working directory"
	}
	if near := suggest.Names(base, names); len(near) > 0 {
		return fmt.Sprintf("%s has %s: check the name", dir, strings.Join(near, " and "))
	}
	return fmt.Sprintf("%s has no file with a name like %q: check the name", dir, base)
}
