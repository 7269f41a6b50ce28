// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// expand turns a command line in the grammar of vmdebootstrap 1.7 into one that cobra reads the same way. It writes
// out abbreviated options, joins each value to its option, and drops the words that are neither.
//
// That grammar is Python's optparse: an option that takes a value takes the next word even if that begins with a
// dash; any beginning of an option that no other option shares will do; words that are not options are ignored.
func expand(flags *pflag.FlagSet, args []string) ([]string, error) {
	words := []string{} // not nil, which cobra takes for os.Args
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			return words, nil
		case word == "-h":
			words = append(words, "--help")
			continue
		case len(word) > 1 && word[0] == '-' && word[1] != '-':
			return nil, usageErrorf("no such option: %s", word)
		case !strings.HasPrefix(word, "--"):
			continue
		}
		name, value, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		flag, err := findFlag(flags, name)
		if err != nil {
			return nil, err
		}
		if flag.NoOptDefVal != "" {
			if joined {
				return nil, usageErrorf("--%s option does not take a value", flag.Name)
			}
			words = append(words, "--"+flag.Name)
			continue
		}
		if !joined {
			if i++; i == len(args) {
				return nil, usageErrorf("--%s option requires an argument", flag.Name)
			}
			value = args[i]
		}
		words = append(words, "--"+flag.Name+"="+value)
	}
	return words, nil
}

// findFlag finds the option of that name, or else the only one whose name begins so. An option of the manual goes
// before those that came later, which must not make the abbreviation of an old script ambiguous.
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
	later := func(f *pflag.Flag) bool { _, ok := f.Annotations[beyondManual]; return ok }
	if old := slices.DeleteFunc(slices.Clone(found), later); len(old) > 0 {
		found = old
	}
	switch len(found) {
	case 0:
		return nil, usageErrorf("no such option: --%s", name)
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
