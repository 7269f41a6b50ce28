// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Files of debconf (debconf-devel(7)): the questions that packages ask, and the answers.
const (
	debconfTemplates = "/var/cache/debconf/templates.dat"
	DebconfAnswers   = "/var/cache/debconf/config.dat"
)

// AnswerDebconf gives packages the answers that a build gives them, so that their upgrades in the booted
// system neither ask nor fail. Where the packages are not installed there is nothing to answer.
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

// withAnswer puts an answer into the text of config.dat, whose parts are apart by empty lines.
func withAnswer(config, owner, question, value string) string {
	answered := "Value: " + value + "\nFlags: seen\n"
	part := "Name: " + question + "\nTemplate: " + question + "\n" + answered + "Owners: " + owner + "\n"
	parts := strings.Split(strings.Trim(config, "\n"), "\n\n")
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	i := slices.IndexFunc(parts, func(p string) bool { return strings.HasPrefix(p, "Name: "+question+"\n") })
	if i < 0 {
		return strings.Join(append(parts, part), "\n\n")
	}
	var lines strings.Builder
	for line := range strings.SplitSeq(parts[i], "\n") {
		if strings.HasPrefix(line, "Value:") || strings.HasPrefix(line, "Flags:") {
			continue
		}
		lines.WriteString(line + "\n")
		if strings.HasPrefix(line, "Template:") {
			lines.WriteString(answered)
		}
	}
	parts[i] = strings.TrimSuffix(lines.String(), "\n")
	return strings.Join(parts, "\n\n") + "\n"
}
