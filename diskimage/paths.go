// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// rootName is the Name of the root of a tree.
const rootName = "."

// comparePaths compares names in the order of a Tree: a directory before its content, its content
// before the next name, and the names of one directory in byte order. That is byte order with the
// slash before everything else.
func comparePaths(a, b string) int {
	if a == b {
		return 0
	}
	if a == rootName {
		return -1
	}
	if b == rootName {
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' || b[i] != '/' && a[i] < b[i] {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// parentOf returns the Name of the directory that holds a name; the parent of the root is the root.
func parentOf(name string) string { return path.Dir(name) }

// isBelow reports whether name is in the directory dir, at any depth.
func isBelow(name, dir string) bool {
	if dir == rootName {
		return name != rootName
	}
	return len(name) > len(dir) && name[len(dir)] == '/' && strings.HasPrefix(name, dir)
}

// joinName returns the Name of base in the directory dir.
func joinName(dir, name string) string {
	if dir == rootName {
		return name
	}
	return dir + "/" + name
}

// maxPath is the length of the longest name that a program can use, PATH_MAX without the final zero byte.
const maxPath = 4095

var errPathTooLong = fmt.Errorf("a path of more than %d bytes, which Linux does not allow", maxPath)

// shortName returns a name for an error text: of one that fills more than a line, the beginning, the end
// and the length.
func shortName(name string) string {
	const longest, part = 200, 60
	if len(name) <= longest {
		return strconv.Quote(name)
	}
	return fmt.Sprintf("%q…%q (%d bytes)", name[:part], name[len(name)-part:], len(name))
}

// cleanName returns the Name of an Entry for a name in the form of users and archives ("./etc/",
// "/etc", "etc"). It returns an error if the name leads out of the tree, or is too long for Linux.
func cleanName(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("it is %w", errPathTooLong)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %s leads out of the tree", shortName(name))
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("name %s holds a zero byte", shortName(name))
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil
}
