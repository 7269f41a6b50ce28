// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/ini.v1"
)

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
	for _, t := range s.all {
		if _, err := fmt.Fprintln(w, t.name); err != nil {
			return err
		}
	}
	return nil
}
