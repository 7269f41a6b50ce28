package main

import (
	"fmt"
	"io"

	"gopkg.in/ini.v1"
)

func init() {
	// The package's only way to say "key = value" without aligning the signs.
	ini.PrettyFormat, ini.PrettyEqual = false, true
}

// dumpConfig prints all settings as a config file. Passwords are hidden: in their places is a text that a build
// refuses, so the file can be read back for another dump, and for a build once they are written in.
func (s *settings) dumpConfig(w io.Writer) error {
	file := ini.Empty(ini.LoadOptions{IgnoreInlineComment: true})
	section, err := file.NewSection(configSection)
	if err != nil {
		return fmt.Errorf("dump settings: %w", err)
	}
	for _, t := range s.all {
		texts := t.value.dump()
		text := ""
		if _, ok := t.value.(list); ok {
			if text, err = joinList(texts); err != nil {
				return fmt.Errorf("dump %s: %w", t.name, err)
			}
		} else {
			text = texts[0]
		}
		if _, err := section.NewKey(t.name, text); err != nil {
			return fmt.Errorf("dump %s: %w", t.name, err)
		}
	}
	_, err = file.WriteTo(w)
	return err
}

// dumpNames prints the name of each setting.
func (s *settings) dumpNames(w io.Writer) error {
	for _, t := range s.all {
		if _, err := fmt.Fprintln(w, t.name); err != nil {
			return err
		}
	}
	return nil
}
