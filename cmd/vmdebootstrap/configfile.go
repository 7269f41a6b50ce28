// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"gopkg.in/ini.v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// configSection is the section of an INI file and the key of a YAML file that hold the settings. Other sections and
// keys belong to other programs and are ignored.
const configSection = "config"

// configFiles lists the files to read settings from, in order; later ones win. Those in defaults may be missing.
type configFiles struct {
	defaults []string
	named    []string
}

// newConfigFiles returns the files that are read by default.
func newConfigFiles(env environment) *configFiles {
	files := filesAndDirectory(filepath.Join(env.etc, programName), filepath.Join(env.etc, programName))
	configHome := env.getenv("XDG_CONFIG_HOME")
	if home := env.getenv("HOME"); home != "" {
		dotConfig := filepath.Join(home, ".config")
		files = append(files, filesAndDirectory(filepath.Join(home, "."+programName),
			filepath.Join(dotConfig, programName))...)
	}
	xdg := env.getenv("XDG_CONFIG_DIRS")
	if xdg == "" {
		xdg = filepath.Join(env.etc, "xdg")
	}
	for _, dir := range append(filepath.SplitList(xdg), configHome) {
		if dir != "" {
			files = append(files, configsIn(filepath.Join(dir, programName))...)
		}
	}
	return &configFiles{defaults: withoutRepeats(files)}
}

// filesAndDirectory returns BASE.conf and BASE.yaml, which may be missing, and all config files of a directory.
func filesAndDirectory(base, dir string) []string {
	return append([]string{base + ".conf", base + ".yaml"}, configsIn(dir)...)
}

// configsIn returns the config files of a directory, sorted by name. A directory that cannot be read counts as empty.
func configsIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".conf" || ext == ".yaml" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

func withoutRepeats(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// list returns all files in order.
func (c *configFiles) list() []string { return append(slices.Clone(c.defaults), c.named...) }

// configFlag is --config: it adds a file to the list.
type configFlag struct{ files *configFiles }

func (f configFlag) Set(name string) error { f.files.named = append(f.files.named, name); return nil }
func (f configFlag) String() string        { return "" }
func (f configFlag) Type() string          { return "FILE" }

// noConfigFlag is --no-default-configs: it empties the list, so that only a --config after it counts.
type noConfigFlag struct{ files *configFiles }

func (f noConfigFlag) Set(string) error { *f.files = configFiles{}; return nil }
func (f noConfigFlag) String() string   { return "" }
func (f noConfigFlag) Type() string     { return "bool" }

// readConfigs applies all files to the settings that the command line has not set. A file that cannot be read or parsed
// is an error; wrong keys and values are added to s.problems.
func (s *settings) readConfigs(files *configFiles, flags *pflag.FlagSet) error {
	for i, name := range files.list() {
		if _, err := os.Stat(name); err != nil && i < len(files.defaults) {
			continue // missing, or in a directory that this user may not search
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return &builder.Problem{Flag: "--config", Err: err}
		}
		if err := s.applyConfig(name, data, flags); err != nil {
			return fmt.Errorf("config file %s: %w", name, err)
		}
	}
	return nil
}

// configEntry is one key of a config file; texts has several elements only if the file holds a list there.
type configEntry struct {
	key   string
	texts []string
	line  int // 0 if it is not known
}

// applyConfig applies the content of one file.
func (s *settings) applyConfig(name string, data []byte, flags *pflag.FlagSet) error {
	entries, err := s.parseConfig(name, data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		t := s.lookup(e.key)
		switch {
		case t == nil:
			s.problems = append(s.problems, fmt.Errorf("config file %s: unknown key %q%s", name, e.key,
				suggest.Question(e.key, s.names())))
		case given(flags, e.key):
		default:
			if err := t.apply(e.texts, s.secrets); err != nil {
				s.problems = append(s.problems, fmt.Errorf("config file %s: %s: %w", name, e.key, err))
			}
		}
	}
	return nil
}

// parseConfig parses the content of a file in the syntax that its name tells.
func (s *settings) parseConfig(name string, data []byte) ([]configEntry, error) {
	if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
		return s.parseYAML(data)
	}
	return s.parseINI(data)
}

// apply replaces the setting's value.
func (t *setting) apply(texts []string, secrets secretSource) error {
	if l, ok := t.value.(list); ok {
		l.clear()
	} else if len(texts) > 1 {
		return errors.New("takes one value, not a list")
	}
	texts, problem := t.resolve(texts, secrets)
	problems := []error{problem}
	for _, text := range texts {
		problems = append(problems, t.value.Set(text))
	}
	return errors.Join(problems...)
}

// resolve returns the texts of a config file as options take them: with passwords in the place of references to them.
// Those that cannot be read are left out.
func (t *setting) resolve(texts []string, secrets secretSource) ([]string, error) {
	if _, ok := t.value.(boolValue); ok && slices.Equal(texts, []string{""}) {
		return []string{"no"}, nil // an empty value means off, as in vmdebootstrap 1.7
	}
	p, ok := t.value.(resolver)
	if !ok {
		return texts, nil
	}
	var resolved []string
	var problems []error
	for _, text := range texts {
		text, err := p.resolve(text, secrets)
		if err == nil {
			resolved = append(resolved, text)
		}
		problems = append(problems, err)
	}
	return resolved, errors.Join(problems...)
}

// parseINI parses the syntax of Python's ConfigParser: values are literal, including quotes and comment signs in them,
// and continue in lines that begin with a blank.
func (s *settings) parseINI(data []byte) ([]configEntry, error) {
	file, err := ini.LoadSources(ini.LoadOptions{
		InsensitiveKeys:            true,
		IgnoreContinuation:         true,
		IgnoreInlineComment:        true,
		AllowPythonMultilineValues: true,
		PreserveSurroundedQuote:    true,
	}, data)
	if err != nil {
		return nil, err
	}
	section, err := file.GetSection(configSection)
	if err != nil {
		keys := file.Section(ini.DefaultSection).Keys()
		if len(keys) > 0 && s.lookup(keys[0].Name()) != nil {
			return nil, fmt.Errorf("%s is in no section: add a line [%s] before it", keys[0].Name(), configSection)
		}
		return nil, nil
	}
	var entries []configEntry
	for _, key := range section.Keys() {
		texts := []string{key.Value()}
		if t := s.lookup(key.Name()); t != nil {
			if _, ok := t.value.(list); ok {
				texts = splitList(key.Value())
			}
		}
		entries = append(entries, configEntry{key.Name(), texts, iniLine(data, key.Name())})
	}
	return entries, nil
}

// iniLine returns the line of the last key of that name in an INI file; 0 if it is not found.
func iniLine(data []byte, key string) int {
	found, number := 0, 0
	for line := range strings.Lines(string(data)) {
		number++
		if i := strings.IndexAny(line, "=:"); i > 0 && strings.EqualFold(strings.TrimSpace(line[:i]), key) {
			found = number
		}
	}
	return found
}

// listItem matches one item of a list in an INI file and the comma or line end after it. An item may be in double
// quotes, where two of them stand for one.
var listItem = regexp.MustCompile(`\s*(?:"((?:[^"]|"")*)"|([^,\n]*?))\s*(?:,|\n|$)`)

// splitList parses a list in an INI file: items separated by commas. Double quotes protect a comma, and blanks at the
// ends of an item.
func splitList(text string) []string {
	var items []string
	for _, match := range listItem.FindAllStringSubmatch(text, -1) {
		if item := strings.ReplaceAll(match[1], `""`, `"`) + match[2]; item != "" {
			items = append(items, item)
		}
	}
	return items
}

// joinList is the opposite of splitList.
func joinList(items []string) string {
	var texts []string
	for _, item := range items {
		if strings.ContainsAny(item, ",\"\n") || strings.TrimSpace(item) != item {
			item = `"` + strings.ReplaceAll(item, `"`, `""`) + `"`
		}
		texts = append(texts, item)
	}
	return strings.Join(texts, ",")
}

// parseYAML parses the mapping "config", whose values are texts, numbers, yes, no, and lists of these.
func (s *settings) parseYAML(data []byte) ([]configEntry, error) {
	var file map[string]yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	node, ok := file[configSection]
	if !ok {
		for _, key := range slices.Sorted(maps.Keys(file)) {
			if s.lookup(key) != nil {
				return nil, fmt.Errorf("%s is in no mapping: put it below a line \"%s:\", with more spaces before it", key,
					configSection)
			}
		}
		return nil, nil
	}
	var config map[string]yaml.Node
	if err := node.Decode(&config); err != nil {
		return nil, err
	}
	var entries []configEntry
	for key, value := range config {
		texts, err := scalars(&value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		entries = append(entries, configEntry{key, texts, value.Line})
	}
	slices.SortFunc(entries, func(a, b configEntry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// scalars returns the texts of a value or a list of values as they are written, so that a password may look like a
// number.
func scalars(node *yaml.Node) ([]string, error) {
	node = target(node)
	switch {
	case node.ShortTag() == "!!null":
		return []string{""}, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: neither a value nor a list", node.Line)
	}
	var texts []string
	for _, item := range node.Content {
		item = target(item)
		if item.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a list of lists", item.Line)
		}
		texts = append(texts, item.Value)
	}
	return texts, nil
}

// target returns the node that an alias (*name) refers to (&name).
func target(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func init() {
	// The package's only way to say "key = value" without aligning the signs.
	ini.PrettyFormat, ini.PrettyEqual = false, true
}

// dumpConfig prints all settings as a config file. Passwords are hidden: in their places is a text that a build
// refuses, so the file can be read back for another dump, and for a build once they are written in. A value that the
// format cannot hold (a line break, blanks at the ends) is an error.
func (s *settings) dumpConfig(w io.Writer) error {
	file := ini.Empty(ini.LoadOptions{IgnoreInlineComment: true})
	section, err := file.NewSection(configSection)
	if err != nil {
		return fmt.Errorf("dump settings: %w", err)
	}
	for _, t := range s.all {
		text := strings.Join(t.value.dump(), "")
		if _, ok := t.value.(list); ok {
			text = joinList(t.value.dump())
		}
		if _, err := section.NewKey(t.name, text); err != nil {
			return fmt.Errorf("dump %s: %w", t.name, err)
		}
	}
	var b bytes.Buffer
	if _, err := file.WriteTo(&b); err != nil {
		return fmt.Errorf("dump settings: %w", err)
	}
	if err := s.checkDump(b.Bytes()); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// checkDump reads a dump back and compares.
func (s *settings) checkDump(data []byte) error {
	entries, err := s.parseINI(data)
	if err != nil {
		return fmt.Errorf("dump settings: %w", err)
	}
	read := map[string][]string{}
	for _, e := range entries {
		read[e.key] = e.texts
	}
	for _, t := range s.all {
		if texts := t.value.dump(); !slices.Equal(texts, read[t.name]) {
			return fmt.Errorf("dump %s: %q cannot be written in an INI file", t.name, texts)
		}
	}
	return nil
}

// dumpNames prints the name of each setting.
func (s *settings) dumpNames(w io.Writer) error {
	for _, name := range s.names() {
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}
