// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
)

// xfsACLNames maps the names of POSIX access control lists in Linux to those on XFS (fs/xfs/libxfs/xfs_format.h).
var xfsACLNames = map[string]string{
	acl.Access:  "SGI_ACL_FILE",
	acl.Default: "SGI_ACL_DEFAULT",
}

// addACLs handles the access control lists if the program leaves them out.
func (v *Volume) addACLs(ctx context.Context, work string) error {
	if v.program().acls == nil {
		return nil
	}
	var found []diskimage.Entry
	for e, err := range diskimage.WithoutContents(v.Tools.Tree(v.Dir), v.EmptyDirs).Entries() {
		if err != nil {
			return err
		}
		if slices.ContainsFunc(e.Xattrs, func(x diskimage.Xattr) bool { return xfsACLNames[x.Name] != "" }) &&
			e.HardLink == "" {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return v.program().acls(ctx, v, work, found)
}

// journalDir has access control lists in every Debian. They may be lost: systemd-tmpfiles sets them at each boot.
const journalDir = "var/log/journal"

// squashfsACLs returns an error if there are access control lists: the format cannot store any.
func squashfsACLs(_ context.Context, _ *Volume, _ string, found []diskimage.Entry) error {
	for _, e := range found {
		if e.Name != journalDir && !strings.HasPrefix(e.Name, journalDir+"/") {
			return fmt.Errorf("squashfs cannot hold access control lists, and /%s has one: use --roottype=erofs, or remove it", e.Name)
		}
	}
	return nil
}

// xfsACLs writes access control lists with xfs_db: mkfs.xfs turns them into user attributes without effect
// (seen in 7.2).
func xfsACLs(ctx context.Context, v *Volume, work string, found []diskimage.Entry) error {
	var remove, set strings.Builder
	for i, e := range found {
		if strings.ContainsAny(e.Name, " \t\n\"'#") {
			return fmt.Errorf("xfs_db cannot write the access control list of %q: it does not support such names", e.Name)
		}
		fmt.Fprintf(&remove, "path /%s\n", e.Name)
		fmt.Fprintf(&set, "path /%s\n", e.Name)
		for _, x := range e.Xattrs {
			name := xfsACLNames[x.Name]
			if name == "" {
				continue
			}
			list, err := acl.Parse(x.Value)
			if err != nil {
				return fmt.Errorf("%s of /%s: %w", x.Name, e.Name, err)
			}
			file := fmt.Sprintf("acl-%d-%s", i, name)
			if err := os.WriteFile(filepath.Join(work, file), list.XFS(), 0o644); err != nil {
				return err
			}
			fmt.Fprintf(&remove, "attr_remove -u %s\n", x.Name)
			fmt.Fprintf(&set, "attr_set -r -V %s/%s %s\n", insideWork, file, name)
		}
	}
	mounts := []specs.Mount{target.Bind(work, insideWork)}
	program := []string{"xfs_db", "-x", insideWork + "/image"}
	// xfs_db complains if there is nothing to remove, as after a mkfs.xfs that no longer makes such attributes.
	if _, err := v.Tools.Run(ctx, mounts, remove.String(), program...); err != nil {
		return err
	}
	output, err := v.Tools.Run(ctx, mounts, set.String(), program...)
	if err != nil {
		return err
	}
	// xfs_db exits with 0 after errors, too.
	if message := strings.TrimSpace(strings.ReplaceAll(output, "xfs_db>", "")); message != "" {
		return fmt.Errorf("xfs_db: %s", message)
	}
	return nil
}
