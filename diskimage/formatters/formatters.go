// SPDX-License-Identifier: Apache-2.0

// Package formatters maps the types of file systems, named as in mkfs(8) and fstab(5), to their
// writers. It is for programs whose users choose the type; others import the one package that they
// need.
package formatters

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/f2fs"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/swap"
)

// Formatter writes one type of file system.
type Formatter struct {
	diskimage.Formatter
	// MinimumSize returns the size of a file system that holds a tree and leaves free bytes to an
	// ordinary user; it is nil for vfat and swap, which cannot hold a root file system.
	MinimumSize func(fs diskimage.Filesystem, tree diskimage.Tree, free diskimage.Size) (diskimage.Size, error)
}

var byType = map[string]Formatter{
	"ext2": {ext.Formatter{}, ext.MinimumSize},
	"ext3": {ext.Formatter{}, ext.MinimumSize},
	"ext4": {ext.Formatter{}, ext.MinimumSize},
	"f2fs": {f2fs.Formatter{}, f2fs.MinimumSize},
	"vfat": {fat.Formatter{}, nil},
	"swap": {swap.Formatter{}, nil},
}

// Types returns the types that ByType accepts, sorted.
func Types() []string { return slices.Sorted(maps.Keys(byType)) }

// ByType returns the Formatter of a type, such as "ext4". The error lists the types.
func ByType(fsType string) (Formatter, error) {
	f, ok := byType[fsType]
	if !ok {
		return Formatter{}, fmt.Errorf("unknown file system type %q; want one of %s", fsType,
			strings.Join(Types(), ", "))
	}
	return f, nil
}
