// SPDX-License-Identifier: Apache-2.0

package target

import (
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Tree reads a directory that was made by the engine of t, and by nobody else.
func Tree(t Target, dir string) diskimage.Tree {
	if t.OwnerXattrs() {
		return diskimage.NewDirTree(dir, diskimage.WithOwnerXattrs())
	}
	return diskimage.NewDirTree(dir)
}
