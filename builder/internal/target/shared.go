// SPDX-License-Identifier: Apache-2.0

package target

import (
	"path/filepath"
	"strings"
)

// SharedDirs are directories of the host that a step sees. Their paths are not part of its inputs: a snapshot is also
// valid on a machine that has the same files in other directories.
type SharedDirs []SharedDir

// SharedDir is a directory of the host. Name describes it independently of its path: "working directory".
type SharedDir struct{ Name, Path string }

// Portable returns the path of a file with the name of its shared directory instead of that directory's path:
// "working directory:sub/file". It returns the path unchanged if the file is in none of them.
func (dirs SharedDirs) Portable(name string) string {
	for _, d := range dirs {
		if rel, err := filepath.Rel(d.Path, name); err == nil && filepath.IsLocal(rel) {
			return d.Name + ":" + rel
		}
	}
	return name
}

// Local returns the path of a file by its portable name, or "" if there is no such shared directory.
func (dirs SharedDirs) Local(name string) string {
	for _, d := range dirs {
		// The name may come from a snapshot of another machine and is not trusted.
		if rel, ok := strings.CutPrefix(name, d.Name+":"); ok && filepath.IsLocal(rel) {
			return filepath.Join(d.Path, rel)
		}
	}
	return ""
}

// Paths returns the paths of the directories.
func (dirs SharedDirs) Paths() []string {
	var paths []string
	for _, d := range dirs {
		paths = append(paths, d.Path)
	}
	return paths
}
