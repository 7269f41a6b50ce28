// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// expand translates a command line in the grammar of vmdebootstrap 1.7 into one that cobra parses to the same
// result. It writes out abbreviated options, joins each value to its option, and drops the words that are
// neither.
//
// The grammar is that of Python's optparse: an option with a value takes the next word even if that begins with a dash;
// an unambiguous prefix of an option is enough; words that are not options are ignored.
func expand(flags *pflag.FlagSet, args []string) ([]string, error) {
	words, _, err := expandWith(flags, args)
	return words, err
}

// expandWith is expand, and returns the words that are neither as well.
func expandWith(flags *pflag.FlagSet, args []string) (words, others []string, err error) {
	words = []string{} // not nil, for which cobra substitutes os.Args
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			return words, append(others, args[i+1:]...), nil
		case word == "-h":
			words = append(words, "--help")
			continue
		case word == "-v" || word == "-V":
			words = append(words, "--version")
			continue
		case len(word) > 1 && word[0] == '-' && word[1] != '-':
			return nil, nil, usageErrorf("no such option: %s", word)
		case !strings.HasPrefix(word, "--"):
			others = append(others, word)
			continue
		}
		name, value, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		flag, err := findFlag(flags, name)
		if err != nil {
			return nil, nil, err
		}
		if flag.NoOptDefVal != "" {
			if joined {
				return nil, nil, usageErrorf("--%s option does not take a value", flag.Name)
			}
			words = append(words, "--"+flag.Name)
			continue
		}
		if !joined {
			if i++; i == len(args) {
				return nil, nil, usageErrorf("--%s option requires an argument", flag.Name)
			}
			value = args[i]
		}
		words = append(words, "--"+flag.Name+"="+value)
	}
	return words, others, nil
}

// noSuchOption returns the error for an option that does not exist. It suggests the opposites of options, which are
// hidden, only to a word that begins like one.
func noSuchOption(flags *pflag.FlagSet, name string) error {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden || strings.HasPrefix(name, "no-") {
			names = append(names, "--"+f.Name)
		}
	})
	return usageErrorf("no such option: --%s%s", name, suggest.Question("--"+name, names))
}

// findFlag returns the option of that name, or else the only one whose name begins with it. Options of the manual take
// precedence over extensions, which must not make an old script's abbreviation ambiguous.
func findFlag(flags *pflag.FlagSet, name string) (*pflag.Flag, error) {
	if flag := flags.Lookup(name); flag != nil {
		return flag, nil
	}
	var found []*pflag.Flag
	flags.VisitAll(func(f *pflag.Flag) {
		if name != "" && strings.HasPrefix(f.Name, name) {
			found = append(found, f)
		}
	})
	isExtension := func(f *pflag.Flag) bool { _, ok := f.Annotations[extension]; return ok }
	if old := slices.DeleteFunc(slices.Clone(found), isExtension); len(old) > 0 {
		found = old
	}
	switch len(found) {
	case 0:
		return nil, noSuchOption(flags, name)
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = "--" + f.Name
	}
	slices.Sort(names)
	return nil, usageErrorf("ambiguous option: --%s (%s?)", name, strings.Join(names, ", "))
}
