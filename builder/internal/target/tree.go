// SPDX-License-Identifier: Apache-2.0

package target

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Tree returns a Tree of a directory that only the engine of t has written to.
func Tree(t Target, dir string) diskimage.Tree {
	if t.OwnerXattrs() {
		return diskimage.NewDirTree(dir, diskimage.WithOwnerXattrs())
	}
	return diskimage.NewDirTree(dir)
}
