// SPDX-License-Identifier: Apache-2.0

package targettest

import (
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Index returns a tree of files, and of links where a content begins with "-> ".
func Index(t testing.TB, files map[string]string) diskimage.Index {
	t.Helper()
	var entries []diskimage.Entry
	for name, text := range files {
		if target, link := strings.CutPrefix(text, "-> "); link {
			entries = append(entries, diskimage.SymlinkEntry(name, target, time.Time{}))
		} else {
			entries = append(entries, diskimage.FileEntry(name, 0o644, []byte(text), time.Time{}))
		}
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(time.Time{}), entries...)
	if err != nil {
		t.Fatal(err)
	}
	index, err := diskimage.NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	return index
}
