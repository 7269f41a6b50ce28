// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Databases of debconf (debconf-devel(7)): the questions that packages ask, and the answers.
const (
	debconfTemplates = "/var/cache/debconf/templates.dat"
	DebconfAnswers   = "/var/cache/debconf/config.dat"
)

// AnswerDebconf stores the same answers for packages as a build does, so that upgrades in the booted system neither ask
// nor fail. It ignores answers to questions of packages that are not installed.
func AnswerDebconf(f *target.Memory, answers []string) error {
	templates, err := f.ReadFile(debconfTemplates)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	config, err := f.ReadFile(DebconfAnswers)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(config)
	for _, answer := range answers {
		// OWNER QUESTION TYPE VALUE, as debconf-set-selections(1) reads it.
		words := strings.SplitN(answer, " ", 4)
		if strings.Contains("\n"+string(templates), "\nName: "+words[1]+"\n") {
			text = withAnswer(text, words[0], words[1], words[3])
		}
	}
	if text == string(config) {
		return nil
	}
	return f.WriteFile(DebconfAnswers, []byte(text), 0o644)
}

// withAnswer returns the text of config.dat with an answer. Empty lines separate the entries of that file.
func withAnswer(config, owner, question, value string) string {
	answered := "Value: " + value + "\nFlags: seen\n"
	entry := "Name: " + question + "\nTemplate: " + question + "\n" + answered + "Owners: " + owner + "\n"
	entries := strings.Split(strings.Trim(config, "\n"), "\n\n")
	entries = slices.DeleteFunc(entries, func(e string) bool { return e == "" })
	i := slices.IndexFunc(entries, func(e string) bool { return strings.HasPrefix(e, "Name: "+question+"\n") })
	if i < 0 {
		return strings.Join(append(entries, entry), "\n\n")
	}
	var lines strings.Builder
	for line := range strings.SplitSeq(entries[i], "\n") {
		if strings.HasPrefix(line, "Value:") || strings.HasPrefix(line, "Flags:") {
			continue
		}
		lines.WriteString(line + "\n")
		if strings.HasPrefix(line, "Template:") {
			lines.WriteString(answered)
		}
	}
	entries[i] = strings.TrimSuffix(lines.String(), "\n")
	return strings.Join(entries, "\n\n") + "\n"
}
