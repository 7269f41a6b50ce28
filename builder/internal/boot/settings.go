// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// settingsFiles are the files with the settings of a program that writes the menu of a boot loader: shell scripts with
// assignments, of which the later ones take precedence.
type settingsFiles struct {
	// File is read first, then those in Dirs with Suffix.
	File   string
	Dirs   []string
	Suffix string
	// Prefix is that of the names of settings.
	Prefix string
	// Needed are the settings whose values must be known.
	Needed []string
}

// read returns the settings by name.
func (s settingsFiles) read(f *target.Memory) (map[string]string, error) {
	names := []string{s.File}
	for _, dir := range s.Dirs {
		entries, err := f.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if path.Ext(e.Name()) == s.Suffix {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	settings := map[string]string{}
	for _, name := range names {
		text, err := f.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := s.assignments(string(text), settings); err != nil {
			return nil, &problem.Problem{Flag: "--boot", Err: fmt.Errorf("%s of the root file system: %w", name, err)}
		}
	}
	return settings, nil
}

// assignments reads lines NAME=VALUE of a shell script into settings. Values may contain variables. A value that a
// program computes is an error if it is needed.
func (s settingsFiles) assignments(text string, settings map[string]string) error {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok || !strings.HasPrefix(name, s.Prefix) || strings.ContainsAny(name, " \t#") {
			continue
		}
		literal := strings.HasPrefix(value, "'")
		quote := `"`
		if literal {
			quote = "'"
		}
		if rest, quoted := strings.CutPrefix(value, quote); quoted {
			value, _, _ = strings.Cut(rest, quote)
		} else {
			value, _, _ = strings.Cut(value, " ")
		}
		if !literal && strings.ContainsAny(value, "`$\\") {
			var err error
			if value, err = substitute(value, settings); err != nil && slices.Contains(s.Needed, name) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		settings[name] = value
	}
	return nil
}

// substitute replaces the variables $NAME and ${NAME} with their values.
func substitute(value string, settings map[string]string) (string, error) {
	if strings.ContainsAny(value, "`\\") || strings.Contains(value, "$(") {
		return "", fmt.Errorf("%q is computed by a program, which is not run: write the value itself", value)
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(value, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after := "", ""
		if braced, ok := strings.CutPrefix(rest, "{"); ok {
			if name, after, ok = strings.Cut(braced, "}"); !ok || strings.Trim(name, letters) != "" {
				return "", fmt.Errorf("%q is a shell expansion, which is not supported: write the value itself", value)
			}
		} else {
			after = strings.TrimLeft(rest, letters)
			name = strings.TrimSuffix(rest, after)
		}
		b.WriteString(settings[name])
		value = after
	}
}

// letters are the characters in names of variables.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
