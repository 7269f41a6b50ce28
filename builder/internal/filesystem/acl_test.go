// SPDX-License-Identifier: Apache-2.0

package filesystem

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// aclOf is user::rwx, user:1234:r-x, group::r-x, mask::r-x, other::---, as getxattr(2) gives it.
const aclOf = "02000000" + "01000700ffffffff" + "02000500d2040000" + "04000500ffffffff" + "10000500ffffffff" +
	"20000000ffffffff"

func aclEntry(t *testing.T, name string) diskimage.Entry {
	t.Helper()
	value, err := hex.DecodeString(aclOf)
	if err != nil {
		t.Fatal(err)
	}
	return diskimage.Entry{Name: name, Xattrs: []diskimage.Xattr{{Name: "system.posix_acl_access", Value: value},
		{Name: "user.x"}}}
}

func TestXFSGetsAccessControlLists(t *testing.T) {
	t.Parallel()
	var told []string
	says := ""
	tools := Tools{Run: func(_ context.Context, _ []specs.Mount, stdin string, _ ...string) (string, error) {
		told = append(told, stdin)
		return says, nil
	}}
	v := testVolume(tools, "xfs", t.TempDir(), diskimage.GiB)
	work := t.TempDir()
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "var/log/journal")}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"path /var/log/journal\nattr_remove -u system.posix_acl_access\n",
		"path /var/log/journal\nattr_set -r -V /run/mkfs/work/acl-0-SGI_ACL_FILE SGI_ACL_FILE\n",
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("xfs_db was told %q, want %q", told, want)
	}
	value, err := os.ReadFile(filepath.Join(work, "acl-0-SGI_ACL_FILE"))
	// As the kernel writes the same list on a mounted XFS.
	const onDisk = "00000005" + "00000001ffffffff00070000" + "00000002000004d200050000" + "00000004ffffffff00050000" +
		"00000010ffffffff00050000" + "00000020ffffffff00000000"
	if err != nil || hex.EncodeToString(value) != onDisk {
		t.Errorf("got %x (%v), want %s", value, err, onDisk)
	}

	says = "xfs_db> could not set attribute\n"
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a")}); err == nil ||
		!strings.Contains(err.Error(), "could not set") {
		t.Errorf("a complaint of xfs_db gave %v", err)
	}
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a b")}); err == nil ||
		!strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("a name with a blank gave %v", err)
	}
}

func TestSquashfsLosesNoAccessControlListSilently(t *testing.T) {
	t.Parallel()
	if err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal")}); err != nil {
		t.Errorf("the journal's, which each start sets, gave %v", err)
	}
	err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal"),
		aclEntry(t, "srv/share")})
	if err == nil || !strings.Contains(err.Error(), "/srv/share has one: use --roottype=erofs") {
		t.Errorf("got %v", err)
	}
}
