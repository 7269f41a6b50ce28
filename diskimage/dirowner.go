// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

// applyOwner applies the attributes of package ownerxattr to an entry, and removes them.
func applyOwner(e *Entry) error {
	owner := ownerxattr.NameFor(e.Mode)
	kept := e.Xattrs[:0]
	for _, x := range e.Xattrs {
		switch system, isACL := ownerxattr.ACL(x.Name); {
		case x.Name == owner:
			o, err := ownerxattr.Parse(e.Mode, x.Value)
			if err != nil {
				return err
			}
			e.UID, e.GID = o.UID, o.GID
			continue
		case isACL:
			list, err := acl.Parse(x.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", x.Name, err)
			}
			if system == acl.Access {
				list = list.WithMode(e.Mode) // chmod may have changed it since
			}
			x = Xattr{Name: system, Value: list.Xattr()}
		case ownerxattr.Is(x.Name):
			continue
		}
		kept = append(kept, x)
	}
	e.Xattrs = kept
	slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
