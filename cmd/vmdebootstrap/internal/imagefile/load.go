// SPDX-License-Identifier: Apache-2.0

package imagefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// loader loads a file with what it includes, and collects the mistakes in them.
type loader struct {
	Reader
	// chain are the files that include one another, up to the present one.
	chain []string
	// once are the files that have been loaded: one that two others include counts once.
	once     map[string]bool
	problems []error
}

// reference is where a file is named; the zero value stands for the command line.
type reference struct {
	file string
	line int
}

// wrong adds a mistake.
func (l *loader) wrong(file string, line int, format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf("%s: %w", position(file, line), fmt.Errorf(format, args...)))
}

// isYAML reports whether a file is YAML, or JSON, which is YAML as well; other files are INI.
func isYAML(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// load loads a file. Without top, it may only have settings.
func (l *loader) load(name string, from reference, top bool) file {
	f := file{name: name}
	clean := filepath.Clean(name)
	if i := slices.Index(l.chain, clean); i >= 0 {
		l.wrong(from.file, from.line, "include: %s: the files include one another without end",
			strings.Join(append(l.chain[i:], clean), " → "))
		return f
	}
	if l.once[clean] {
		return f
	}
	l.once[clean] = true
	l.chain = append(l.chain, clean)
	defer func() { l.chain = l.chain[:len(l.chain)-1] }()
	data, err := l.ReadFile(name)
	switch {
	case err != nil && from.file == "":
		l.problems = append(l.problems, err)
		return f
	case err != nil:
		l.wrong(from.file, from.line, "include: %w", err)
		return f
	case !isYAML(name):
		f.settings = l.config(name, data)
		return f
	}
	root, line, err := parse(data)
	if err != nil {
		l.wrong(name, line, "%w", err)
		return f
	}
	if root == nil {
		return f
	}
	pairs := l.pairs(name, root)
	if slices.ContainsFunc(pairs, func(p pair) bool { return p.name == keyConfig }) {
		f.settings = l.config(name, data)
		return f
	}
	l.content(&f, pairs, top)
	return f
}

// config returns the settings of a config file.
func (l *loader) config(name string, data []byte) []Setting {
	settings, err := l.Config(name, data)
	if err != nil {
		l.wrong(name, 0, "%w", err)
		return nil
	}
	for i := range settings {
		settings[i].File = name
		if l.key(settings[i].Name) == nil {
			l.unknown(name, settings[i].Line, settings[i].Name, nil)
			continue
		}
		l.check(settings[i])
	}
	return settings
}

// content reads the keys of a file.
func (l *loader) content(f *file, pairs []pair, top bool) {
	structure := []string{keyInclude}
	if top {
		structure = append(structure, keyImages, keyProfiles)
	}
	f.settings = l.settings(f.name, pairs, structure, func(name string, line int) []Setting {
		included := l.load(name, reference{f.name, line}, top)
		f.own = append(f.own, included.own...)
		f.profiles = append(f.profiles, included.profiles...)
		return included.settings
	})
	if !top {
		return
	}
	for _, p := range pairs {
		switch p.name {
		case keyImages:
			f.own = append(f.own, l.images(f.name, p)...)
		case keyProfiles:
			for _, own := range l.named(f.name, p) {
				pairs := l.pairs(f.name, own.value)
				profile := section{name: own.name, file: f.name, line: own.line}
				profile.settings = l.settings(f.name, pairs, []string{keyInclude, keyImages}, l.only())
				for _, p := range pairs {
					if p.name == keyImages {
						profile.own = l.images(f.name, p)
					}
				}
				f.profiles = append(f.profiles, profile)
			}
		}
	}
}

// images reads a mapping of images.
func (l *loader) images(file string, p pair) []section {
	var all []section
	for _, own := range l.named(file, p) {
		all = append(all, section{name: own.name, file: file, line: own.line,
			settings: l.settings(file, l.pairs(file, own.value), []string{keyInclude}, l.only())})
	}
	return all
}

// only returns a function that loads a file which may only have settings, for one image or profile.
func (l *loader) only() func(name string, line int) []Setting {
	chain := slices.Clone(l.chain)
	inner := loader{Reader: l.Reader, chain: chain, once: map[string]bool{}}
	file := chain[len(chain)-1]
	return func(name string, line int) []Setting {
		inner.problems = nil
		f := inner.load(name, reference{file, line}, false)
		l.problems = append(l.problems, inner.problems...)
		return f.settings
	}
}

// named returns the entries of a mapping of images or profiles.
func (l *loader) named(file string, p pair) []pair {
	all := l.pairs(file, p.value)
	for _, own := range all {
		if !validName.MatchString(own.name) {
			l.wrong(file, own.line, "%s: %q is no name: use letters, digits, and . _ + - after the first of them", p.name,
				own.name)
		}
	}
	return all
}

// settings reads the settings of one level, and the files that it includes, which count before them. structure are the
// keys that are not settings.
func (l *loader) settings(file string, pairs []pair, structure []string,
	include func(name string, line int) []Setting) []Setting {
	var included, own []Setting
	for _, p := range pairs {
		if p.name == keyInclude {
			texts, err := scalars(p.value)
			if err != nil {
				l.wrong(file, p.line, "%s: %w", p.name, err)
			}
			for _, name := range texts {
				if name == "" {
					continue
				}
				if !filepath.IsAbs(name) {
					name = filepath.Join(filepath.Dir(file), name)
				}
				included = append(included, include(name, p.line)...)
			}
			continue
		}
		if slices.Contains(structure, p.name) ||
			slices.Contains(structure, keyProfiles) && strings.HasPrefix(p.name, anyPrefix) {
			continue
		}
		key := l.key(p.name)
		if key == nil {
			l.unknown(file, p.line, p.name, structure)
			continue
		}
		texts, err := scalars(p.value)
		if err == nil && len(texts) > 1 && !key.List {
			err = errors.New("takes one value, not a list")
		}
		if err != nil {
			l.wrong(file, p.line, "%s: %w", p.name, err)
			continue
		}
		own = append(own, Setting{p.name, texts, file, p.line})
		l.check(own[len(own)-1])
	}
	return append(included, own...)
}

// check adds the mistake of a setting.
func (l *loader) check(s Setting) {
	if l.Check == nil {
		return
	}
	if err := l.Check(s); err != nil {
		l.wrong(s.File, s.Line, "%s: %w", s.Name, err)
	}
}

// unknown adds the mistake of a key that its level does not have.
func (l *loader) unknown(file string, line int, name string, structure []string) {
	if slices.Contains([]string{keyInclude, keyImages, keyProfiles}, name) {
		l.wrong(file, line, "%s does not belong here, but to the top level of an image file", name)
		return
	}
	if slices.Contains(l.Options, name) {
		l.wrong(file, line, "%s is not for an image, but for the whole call: give the option --%[1]s", name)
		return
	}
	names := slices.Clone(structure)
	for _, k := range l.Keys {
		names = append(names, k.Name)
	}
	l.wrong(file, line, "unknown key %q%s", name, suggest.Question(name, names))
}

// pair is a key of a mapping with its value.
type pair struct {
	name  string
	line  int
	value *yaml.Node
}

// maxMerged is how many values merges may visit for one mapping: a file of a few lines can ask for billions.
const maxMerged = 10_000

// pairs returns the entries of a mapping in their order; none for an empty value.
func (l *loader) pairs(file string, node *yaml.Node) []pair {
	node = target(node)
	if node.ShortTag() == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		l.wrong(file, node.Line, "want a mapping here: KEY: VALUE")
		return nil
	}
	seen := map[string]int{}
	var own, merged []pair
	for i := 0; i < len(node.Content); i += 2 {
		name, value := target(node.Content[i]), node.Content[i+1]
		line := node.Content[i].Line
		if name.Kind != yaml.ScalarNode {
			l.wrong(file, line, "a key that is not a text")
			continue
		}
		if name.ShortTag() == "!!merge" {
			var err error
			budget := maxMerged
			if merged, err = merge(value, merged, &budget); err != nil {
				l.wrong(file, line, "%s: %w", name.Value, err)
			}
			continue
		}
		if first, ok := seen[name.Value]; ok {
			l.wrong(file, line, "%q is in line %d already", name.Value, first)
			continue
		}
		seen[name.Value] = line
		own = append(own, pair{name.Value, line, value})
	}
	for _, p := range merged { // the first of them counts
		if _, ok := seen[p.name]; !ok {
			seen[p.name] = p.line
			own = append(own, p)
		}
	}
	return own
}

// merge appends the entries of what <<: refers to, a mapping or a list of mappings. It takes one of the budget for each
// value that it visits.
func merge(node *yaml.Node, pairs []pair, budget *int) ([]pair, error) {
	node = target(node)
	if *budget -= 1 + len(node.Content); *budget < 0 {
		return pairs, errors.New("too many values to merge")
	}
	var err error
	switch node.Kind {
	case yaml.SequenceNode:
		for _, item := range node.Content {
			if pairs, err = merge(item, pairs, budget); err != nil {
				return pairs, err
			}
		}
		return pairs, nil
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			name, value := target(node.Content[i]), node.Content[i+1]
			if name.ShortTag() != "!!merge" {
				pairs = append(pairs, pair{name.Value, node.Content[i].Line, value})
				continue
			}
			if pairs, err = merge(value, pairs, budget); err != nil {
				return pairs, err
			}
		}
		return pairs, nil
	}
	return pairs, errors.New("want a mapping, or a list of mappings")
}

// target returns the node that an alias refers to.
func target(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// scalars returns the texts of a value or a list of values as they are written; none for an empty list.
func scalars(node *yaml.Node) ([]string, error) {
	node = target(node)
	switch {
	case node.ShortTag() == "!!null":
		return []string{""}, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, errors.New("want a value or a list of values, not a mapping")
	}
	var texts []string
	for _, item := range node.Content {
		item = target(item)
		switch {
		case item.ShortTag() == "!!null":
			texts = append(texts, "")
		case item.Kind == yaml.ScalarNode:
			texts = append(texts, item.Value)
		default:
			return nil, fmt.Errorf("line %d: want a value in a list, not a list or a mapping", item.Line)
		}
	}
	return texts, nil
}

// yamlLine matches the beginning of an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse returns the only document of a file, nil for an empty file. An error may have a line.
func parse(data []byte) (root *yaml.Node, line int, err error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := d.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, 0, nil
	case err != nil:
		match := yamlLine.FindStringSubmatch(err.Error())
		if match == nil {
			return nil, 0, err
		}
		line, _ := strconv.Atoi(match[1]) // 0 without a line
		return nil, line, errors.New(strings.TrimPrefix(err.Error(), match[0]))
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, second.Line, errors.New("an image file is one document of YAML: leave out what follows ---")
	}
	return document.Content[0], 0, nil
}
