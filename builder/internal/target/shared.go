// SPDX-License-Identifier: Apache-2.0

package target

import (
	"path/filepath"
	"strings"
)

// SharedDirs are directories of the host that a step sees. Where they are does not matter: a snapshot is as
// good on another machine that has the same files elsewhere.
type SharedDirs []SharedDir

type SharedDir struct{ Name, Path string }

// Portable gives the name of a file without the place of the directory that it is in: "working directory:sub/file".
func (dirs SharedDirs) Portable(name string) string {
	for _, d := range dirs {
		if rel, err := filepath.Rel(d.Path, name); err == nil && filepath.IsLocal(rel) {
			return d.Name + ":" + rel
		}
	}
	return name
}

// Local gives the file of a portable name; "" if there is no such directory here.
func (dirs SharedDirs) Local(name string) string {
	for _, d := range dirs {
		// A snapshot of another machine may say anything.
		if rel, ok := strings.CutPrefix(name, d.Name+":"); ok && filepath.IsLocal(rel) {
			return filepath.Join(d.Path, rel)
		}
	}
	return ""
}

func (dirs SharedDirs) Paths() []string {
	var paths []string
	for _, d := range dirs {
		paths = append(paths, d.Path)
	}
	return paths
}
