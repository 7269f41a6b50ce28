// SPDX-License-Identifier: Apache-2.0

// Package imagefile reads image files: YAML files that describe several images by settings that they share and settings
// of their own.
//
// A file is a mapping of settings, and of four keys that are not settings:
//
//	include:  [base.yaml]      # files whose content counts as if it came before this one's
//	images:   {web: {…}}       # images by name, each with the settings that only it has
//	profiles: {debug: {…}}     # settings that count if the profile is chosen
//	x-…                        # anything, such as anchors of YAML
//
// An image has the settings of its file, then its own, then those of the chosen profiles, for all images and for this
// one. Of a setting with one value the last one counts. Lists grow, and an empty list forgets what came before. A file
// without images is one image.
//
// Config files, INI or a mapping "config" in YAML, count as files with nothing but settings.
//
// The package knows the names of settings, but not what their values mean. It reports all mistakes at once, each with
// file and line.
package imagefile

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

// The keys that are not settings.
const (
	keyInclude  = "include"
	keyImages   = "images"
	keyProfiles = "profiles"
	// keyConfig is the mapping of a config file.
	keyConfig = "config"
	// anyPrefix begins the keys that may hold anything.
	anyPrefix = "x-"
)

// Setting is a setting as a file gives it.
type Setting struct {
	Name string
	// Texts are the values as they are written. Only a list has more than one.
	Texts []string
	// File and Line are where the setting is. A relative path in a value is relative to the directory of the file.
	File string
	Line int
}

// Position returns "FILE:LINE".
func (s Setting) Position() string { return position(s.File, s.Line) }

// position returns "FILE:LINE", or only the file if the line is 0.
func position(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// empty reports whether the setting has no value.
func (s Setting) empty() bool {
	return !slices.ContainsFunc(s.Texts, func(text string) bool { return text != "" })
}

// Image is one image of a file.
type Image struct {
	Name string
	// File and Line are where the image is.
	File string
	Line int
	// Settings are in the order in which they count. Only a list is there more than once.
	Settings []Setting
}

// Reader reads image files.
type Reader struct {
	// Keys are the settings that files may have.
	Keys []Key
	// Options are names that look like settings, but are only options of the command line.
	Options []string
	// ReadFile is os.ReadFile, except in tests.
	ReadFile func(name string) ([]byte, error)
	// Config parses the settings of a config file. It need not set Setting.File.
	Config func(name string, data []byte) ([]Setting, error)
	// Check finds the mistake of a setting whose name is known; nil checks nothing.
	Check func(Setting) error
}

// Read returns the images of files in their order, with the profiles of these names.
func (r Reader) Read(files, profiles []string) ([]Image, error) {
	var images []Image
	var problems []error
	known := map[string]bool{}
	for _, name := range files {
		l := loader{Reader: r, once: map[string]bool{}}
		f := l.load(name, reference{}, true)
		problems = append(problems, l.problems...)
		problems = append(problems, f.check()...)
		for _, p := range f.profiles {
			known[p.name] = true
		}
		for _, image := range f.images(profiles) {
			image.Settings = r.counting(image.Settings)
			images = append(images, image)
		}
	}
	for _, name := range profiles {
		if !known[name] {
			problems = append(problems, fmt.Errorf("no profile %q in %s%s", name, strings.Join(files, ", "),
				suggest.Question(name, slices.Sorted(maps.Keys(known)))))
		}
	}
	seen := map[string]Image{}
	for _, image := range images {
		if other, ok := seen[image.Name]; ok {
			problems = append(problems, fmt.Errorf("%s: image %q is in %s as well: give one of them another name",
				position(image.File, image.Line), image.Name, position(other.File, other.Line)))
		}
		seen[image.Name] = image
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return images, nil
}

// file is a file with all that it includes.
type file struct {
	name     string
	settings []Setting
	own      []section // images
	profiles []section
}

// section is an image or a profile.
type section struct {
	name     string
	file     string
	line     int
	settings []Setting
	own      []section // what a profile has for single images
}

// check finds images in profiles that the file does not have.
func (f file) check() []error {
	var names []string
	for _, image := range f.own {
		names = append(names, image.name)
	}
	var problems []error
	for _, p := range f.profiles {
		for _, image := range p.own {
			if !slices.Contains(names, image.name) {
				problems = append(problems, fmt.Errorf("%s: profile %q: no image %q%s", position(image.file, image.line),
					p.name, image.name, suggest.Question(image.name, names)))
			}
		}
	}
	return problems
}

// images returns the images with the settings of their levels.
func (f file) images(profiles []string) []Image {
	own := f.own
	if len(own) == 0 {
		base := filepath.Base(f.name)
		own = []section{{name: strings.TrimSuffix(base, filepath.Ext(base)), file: f.name}}
	}
	var images []Image
	for _, s := range own {
		levels := slices.Concat(f.settings, s.settings)
		for _, chosen := range profiles {
			for _, p := range f.profiles {
				if p.name != chosen {
					continue
				}
				levels = append(levels, p.settings...)
				for _, image := range p.own {
					if image.name == s.name {
						levels = append(levels, image.settings...)
					}
				}
			}
		}
		images = append(images, Image{s.name, s.file, s.line, levels})
	}
	return images
}

// counting returns the settings without those that later ones replace.
func (r Reader) counting(levels []Setting) []Setting {
	left := []Setting{}
	for _, s := range levels {
		key := r.key(s.Name)
		if key != nil && (!key.List || s.empty()) {
			left = slices.DeleteFunc(left, func(other Setting) bool { return other.Name == s.Name })
		}
		left = append(left, s)
	}
	return left
}

// key returns the setting of that name, nil if there is none.
func (r Reader) key(name string) *Key {
	i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Keys[i]
}

// validName matches the names of images and profiles, which are in options and at the beginning of lines.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
