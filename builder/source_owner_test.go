// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// Issue 12, A4: a user's own program of mode 4755 became root's by an attribute that anybody can set.
func TestOwnerXattrsOfADirectorySourceAreNotBelieved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "tool")
	err := errors.Join(os.WriteFile(name, []byte("#!"), 0o755), os.Chmod(name, 0o755|os.ModeSetuid))
	for attribute, value := range map[string]string{
		"user.vmdebootstrap.owner": "77:88", "user.vmdebootstrap.posix_acl_access": "x", "user.mine": "y",
	} {
		err = errors.Join(err, unix.Setxattr(name, attribute, []byte(value), 0))
	}
	if errors.Is(err, unix.ENOTSUP) {
		diskimagetest.Missing(t, "a file system with attributes of users")
	}
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Source{Transport: transport.Dir, Path: dir}.Open(t.Context(), SourceOptions{World: World{Dir: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	found := false
	for e, err := range tree.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Name != "tool" {
			continue
		}
		found = true
		if e.UID != uint32(os.Getuid()) || e.GID != uint32(os.Getgid()) {
			t.Errorf("it belongs to %d:%d, want %d:%d", e.UID, e.GID, os.Getuid(), os.Getgid())
		}
		var names []string
		for _, x := range e.Xattrs {
			names = append(names, x.Name)
		}
		if got := strings.Join(names, " "); got != "user.mine" {
			t.Errorf("attributes %q, want user.mine only", got)
		}
	}
	if !found {
		t.Error("the file is not in the tree")
	}
}
