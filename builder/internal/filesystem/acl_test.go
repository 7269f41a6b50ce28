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

// aclOf is user::rwx, user:1234:r-x, group::r-x, mask::r-x, other::---, as getxattr(2) returns it.
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
	var scripts []string
	output := ""
	tools := Tools{Run: func(_ context.Context, _ []specs.Mount, stdin string, _ ...string) (string, error) {
		scripts = append(scripts, stdin)
		return output, nil
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
	if !reflect.DeepEqual(scripts, want) {
		t.Errorf("got commands %q for xfs_db, want %q", scripts, want)
	}
	value, err := os.ReadFile(filepath.Join(work, "acl-0-SGI_ACL_FILE"))
	// The same list as the kernel writes it to a mounted XFS.
	const onDisk = "00000005" + "00000001ffffffff00070000" + "00000002000004d200050000" + "00000004ffffffff00050000" +
		"00000010ffffffff00050000" + "00000020ffffffff00000000"
	if err != nil || hex.EncodeToString(value) != onDisk {
		t.Errorf("got %x (%v), want %s", value, err, onDisk)
	}

	output = "xfs_db> could not set attribute\n"
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a")}); err == nil ||
		!strings.Contains(err.Error(), "could not set") {
		t.Errorf("error message of xfs_db: got %v", err)
	}
	if err := xfsACLs(t.Context(), v, work, []diskimage.Entry{aclEntry(t, "a b")}); err == nil ||
		!strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("name with a space: got %v", err)
	}
}

func TestSquashfsReportsAccessControlLists(t *testing.T) {
	t.Parallel()
	if err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal")}); err != nil {
		t.Errorf("/var/log/journal, whose list is set at each boot: got %v", err)
	}
	err := squashfsACLs(t.Context(), nil, "", []diskimage.Entry{aclEntry(t, "var/log/journal"),
		aclEntry(t, "srv/share")})
	if err == nil || !strings.Contains(err.Error(), "/srv/share has one: use --roottype=erofs") {
		t.Errorf("got %v", err)
	}
}
