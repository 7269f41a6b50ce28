// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

func TestDirTreeAppliesOwnerXattrsOnRequest(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	noted := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x08\x00\x05\x00\x04\x00\x00\x00" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	err := errors.Join(
		os.Mkdir(at("dir"), 0o755), os.WriteFile(at("file"), nil, 0o640), os.Chmod(at("file"), 0o640),
		os.Symlink("x", at("link")),
		unix.Setxattr(at("dir"), ownerxattr.Name, []byte("0:50"), 0),
		unix.Setxattr(at("file"), ownerxattr.Name, []byte("4294967294:42"), 0),
		unix.Setxattr(at("file"), "user.vmdebootstrap.posix_acl_access", []byte(noted), 0),
		unix.Setxattr(at("file"), "user.mine", []byte("x"), 0),
	)
	if errors.Is(err, unix.ENOTSUP) {
		diskimagetest.Missing(t, "a file system with attributes of users")
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dir 0:50 []", "file 4294967294:42 [system.posix_acl_access user.mine]",
		fmt.Sprintf("link %d:%d []", os.Getuid(), os.Getgid())}
	note := "\x00\x00\x00\x02" + "\x06\x00\x00\x00" + "\x0c\x00\x01\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	if err := unix.Lsetxattr(at("link"), capabilityXattr, []byte(note), 0); err == nil {
		want[2] = "link 6:65548 []"
	} else {
		t.Logf("links: %v", err) // we are not root, not even in a user namespace
	}
	for i, e := range list(t, NewDirTree(root, WithOwnerXattrs()))[1:] {
		var names []string
		for _, x := range e.Xattrs {
			names = append(names, x.Name)
			if x.Name == acl.Access {
				// The permissions of owner, mask and others come from the mode.
				if got, want := string(x.Value[6:8])+string(x.Value[30:32])+string(x.Value[38:40]),
					"\x06\x00\x04\x00\x00\x00"; got != want {
					t.Errorf("%s: got permissions %q in the access control list", e.Name, got)
				}
			}
		}
		if got := fmt.Sprintf("%s %d:%d [%s]", e.Name, e.UID, e.GID, strings.Join(names, " ")); got != want[i] {
			t.Errorf("got %s, want %s", got, want[i])
		}
	}
	if err := unix.Setxattr(at("dir"), ownerxattr.Name, []byte("nobody"), 0); err != nil {
		t.Fatal(err)
	}
	for _, err := range NewDirTree(root, WithOwnerXattrs()).Entries() {
		if err != nil {
			if !strings.Contains(err.Error(), `dir: `) || !strings.Contains(err.Error(), `"nobody"`) {
				t.Errorf("got %v", err)
			}
			return
		}
	}
	t.Error("an invalid owner xattr was accepted")
}

// Issue 12, A4: every user who can write to a file can claim that root owns it.
func TestDirTreeIgnoresOwnerXattrsByDefault(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	names := []string{filepath.Join(root, "dir"), filepath.Join(root, "file")}
	err := errors.Join(os.Mkdir(names[0], 0o755), os.WriteFile(names[1], nil, 0o755),
		os.Chmod(names[1], 0o755|os.ModeSetuid))
	for _, name := range append(names, root) {
		for _, attribute := range []string{ownerxattr.Name, "user.vmdebootstrap.posix_acl_access",
			"user.vmdebootstrap.x", "user.mine"} {
			err = errors.Join(err, unix.Setxattr(name, attribute, []byte("77:88"), 0))
		}
	}
	if errors.Is(err, unix.ENOTSUP) {
		diskimagetest.Missing(t, "a file system with attributes of users")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list(t, NewDirTree(root)) {
		if int(e.UID) != os.Getuid() || int(e.GID) != os.Getgid() || len(e.Xattrs) != 1 ||
			e.Xattrs[0].Name != "user.mine" {
			t.Errorf("%s: %d:%d with %v, want %d:%d with user.mine", e.Name, e.UID, e.GID, e.Xattrs, os.Getuid(),
				os.Getgid())
		}
	}
}
