// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// FilesBelow lists dirs and everything below them. It ignores those of dirs that do not exist or are no directories.
func FilesBelow(t Target, dirs []string) ([]string, error) {
	var names []string
	for _, dir := range dirs {
		entries, err := t.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names = append(names, dir)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if !e.IsDir() {
				names = append(names, name)
				continue
			}
			below, err := FilesBelow(t, []string{name})
			if err != nil {
				return nil, err
			}
			names = append(names, below...)
		}
	}
	return names, nil
}

// BootFiles lists the regular files in /boot whose names begin with one of the prefixes, in byte order.
func BootFiles(t interface {
	ReadDir(name string) ([]fs.DirEntry, error)
}, prefixes ...string) ([]string, error) {
	entries, err := t.ReadDir("/boot")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		for _, prefix := range prefixes {
			if strings.HasPrefix(e.Name(), prefix) && e.Type().IsRegular() {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// WriteFileIn writes a file after making its directory if that does not exist.
func WriteFileIn(t Files, name, text string, mode fs.FileMode) error {
	if err := t.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return t.WriteFile(name, []byte(text), mode)
}
