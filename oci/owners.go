package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
)

// Where a user namespace has a single id, every file really belongs to that, and whose it should be is a note in an
// extended attribute. Programs in containers see it and write it as if it were so, see supervise.go. What is not noted
// belongs to 0:0.
//
// Package ownerxattr has the form of the notes. The kernel carries them along when a file is moved, gets another name, or is
// copied from a lower layer of an overlay.

// owner is whose a file is.
type owner struct{ uid, gid uint32 }

// root owns what has no note.
var rootOwner = owner{}

// noID leaves an id as it is, in chown(2) and its like.
const noID = ^uint32(0)

// merged is the owner after a chown(2) to other.
func (o owner) merged(other owner) owner {
	if other.uid != noID {
		o.uid = other.uid
	}
	if other.gid != noID {
		o.gid = other.gid
	}
	return o
}

// holdsUserXattrs reports whether files of a type may have attributes of users.
func holdsUserXattrs(mode uint32) bool { return ownerxattr.HoldsUserXattrs(mode) }

// notedOwner reads the note of a file.
func notedOwner(path string, mode uint32) (owner, error) {
	return readOwner(mode, func(name string, value []byte) (int, error) { return unix.Lgetxattr(path, name, value) })
}

// openOwner reads the note of an open file; O_PATH suffices.
func openOwner(fd int, mode uint32) (owner, error) {
	return readOwner(mode, func(name string, value []byte) (int, error) { return unix.Getxattr(procPath(fd), name, value) })
}

func readOwner(mode uint32, get func(string, []byte) (int, error)) (owner, error) {
	var buf [64]byte
	n, err := get(ownerxattr.NameFor(mode), buf[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return rootOwner, nil
	}
	if err != nil {
		return owner{}, fmt.Errorf("read the owner: %w", err)
	}
	o, err := ownerxattr.Parse(mode, buf[:n])
	if err != nil {
		return owner{}, fmt.Errorf("read the owner: %w", err)
	}
	return owner{o.UID, o.GID}, nil
}

// note is the name and the value of a note.
func (o owner) note(mode uint32) (name string, value []byte) {
	return ownerxattr.Owner{UID: o.uid, GID: o.gid}.Xattr(mode)
}

// noteOwner writes the note of an open file.
func noteOwner(fd int, mode uint32, o owner) error {
	path := procPath(fd)
	name, value := o.note(mode)
	var err error
	if o == rootOwner {
		if err = unix.Removexattr(path, name); errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
	} else {
		err = unix.Setxattr(path, name, value, 0)
	}
	if err != nil {
		return fmt.Errorf("note the owner %d:%d: %w", o.uid, o.gid, err)
	}
	return nil
}

// chown gives an open file (O_PATH suffices) to an owner where there is a single id. The kernel does what else comes with
// that: it looks whether it is allowed, takes away what must not survive, such as the setuid bit, and sets the time.
func chown(fd int, to owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	before, err := openOwner(fd, st.Mode)
	if err != nil {
		return &lostOwner{err}
	}
	real := func(id uint32) int {
		if id == noID {
			return -1
		}
		return 0
	}
	if err := unix.Fchownat(fd, "", real(to.uid), real(to.gid), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	after := before.merged(to)
	if after == before && holdsUserXattrs(st.Mode) {
		return nil
	}
	if err := noteOwner(fd, st.Mode, after); err != nil {
		return &lostOwner{err}
	}
	return nil
}

// tryNotes finds out whether the file system of a directory keeps notes.
func tryNotes(dir string) (err error) {
	name := filepath.Join(dir, "notes")
	if err := errors.Join(os.Mkdir(name, 0o700), os.Symlink("nothing", filepath.Join(name, "link"))); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(name)) }()
	for _, file := range []string{name, filepath.Join(name, "link")} {
		fd, err := unix.Open(file, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = chown(fd, owner{1, 1})
		unix.Close(fd)
		if err != nil {
			return &HostError{
				Cause: "the file system of " + dir + " keeps no notes of owners",
				Cure:  "name a directory on another file system, ext4 for example, with --state-dir", Err: err,
			}
		}
	}
	return nil
}

// needUsers refuses work that gives files to others for good where there is nobody else.
func needUsers(work string) error {
	if isolation != IsolationSingle {
		return nil
	}
	return &HostError{
		Cause: fmt.Sprintf("%s needs subordinate ids", work),
		Cure:  "as root, run: apt install uidmap, and: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER; or write a tar file, an OCI image or a disk image",
	}
}

// needStore refuses work on the store of podman where that would be read and written otherwise than by podman: its overlays are
// root's, with trusted.* attributes, which are neither seen nor written in a user namespace.
func needStore() error {
	if isolation == IsolationUserNS && caller == 0 {
		return &HostError{
			Cause: "the store of root's podman cannot be used from a user namespace",
			Cure:  "use the isolation root, or write an OCI image and let podman pull that",
		}
	}
	return needUsers("the store of podman")
}

// lostOwner says that nobody will know whose a file is.
type lostOwner struct{ err error }

func (e *lostOwner) Error() string { return e.err.Error() }
func (e *lostOwner) Unwrap() error { return e.err }

// procPath is a name by which this process reaches an open file.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
