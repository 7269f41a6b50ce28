// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Timezone sets the time zone of the system.
type Timezone struct {
	base
	Name string // "Europe/Berlin"
}

func (Timezone) Kind() string { return "timezone" }

func (t Timezone) Title() string { return "set the time zone to " + t.Name }

func (t Timezone) Run(_ context.Context, s *Context) error {
	zone := "/usr/share/zoneinfo/" + t.Name
	if info, err := s.Target.Lstat(zone); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return fmt.Errorf("the image has no time zone %q; the package tzdata-legacy has old names since trixie", t.Name)
	} else if err != nil {
		return err
	}
	if err := s.Target.Remove("/etc/localtime"); err != nil {
		return err
	}
	if err := s.Target.Symlink(zone, "/etc/localtime"); err != nil {
		return err
	}
	// The package tzdata reads this one.
	return target.WriteFileIn(s.Target, "/etc/timezone", t.Name+"\n", 0o644)
}

// Locale sets the language of the system, and compiles what that needs.
type Locale struct {
	base
	Name string // "de_DE.UTF-8"
}

func (Locale) Kind() string { return "locale" }

func (l Locale) Title() string { return "set the locale to " + l.Name }

func (l Locale) Run(ctx context.Context, s *Context) error {
	if l.Name != "C.UTF-8" { // which libc itself has
		if err := l.compile(ctx, s); err != nil {
			return err
		}
	}
	return s.inTarget(ctx, "update-locale", "LANG="+l.Name)
}

// compile compiles the locale, and lists it for upgrades of libc.
func (l Locale) compile(ctx context.Context, s *Context) error {
	const supported, list = "/usr/share/i18n/SUPPORTED", "/etc/locale.gen"
	known, err := s.Target.ReadFile(supported)
	if err != nil {
		return err
	}
	line := l.Name + " UTF-8"
	if !slices.Contains(strings.Split(string(known), "\n"), line) {
		return fmt.Errorf("%s of the image has no locale %q", supported, l.Name)
	}
	text, err := s.Target.ReadFile(list)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !slices.Contains(strings.Split(string(text), "\n"), line) {
		if err := s.Target.WriteFile(list, append(text, line+"\n"...), 0o644); err != nil {
			return err
		}
	}
	return s.inTarget(ctx, "locale-gen")
}

// Keymap sets the keyboard of the console and of graphical systems.
type Keymap struct {
	base
	// Layout and Variant are those of xkeyboard-config(7): "de" and "nodeadkeys". Variant may be empty.
	Layout  string
	Variant string `json:",omitempty"`
}

func (Keymap) Kind() string { return "keymap" }

func (k Keymap) Title() string {
	return strings.TrimSpace("set the keyboard to " + k.Layout + " " + k.Variant)
}

func (k Keymap) Run(ctx context.Context, s *Context) error {
	for layout := range strings.SplitSeq(k.Layout, ",") {
		file := "/usr/share/X11/xkb/symbols/" + layout
		if ok, err := target.Exists(s.Target, file); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("the image has no keyboard layout %q: %s is missing", layout, file)
		}
	}
	text := fmt.Sprintf("# See keyboard(5).\nXKBMODEL=\"pc105\"\nXKBLAYOUT=%q\nXKBVARIANT=%q\nXKBOPTIONS=\"\"\n\n"+
		"BACKSPACE=\"guess\"\n", k.Layout, k.Variant)
	if err := target.WriteFileIn(s.Target, "/etc/default/keyboard", text, 0o644); err != nil {
		return err
	}
	// What was made for the default layout is loaded at boot otherwise.
	return s.inTarget(ctx, "setupcon", "--save-only")
}
