// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	subid "github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
)

// A real root, with the isolation userns, becomes somebody else: the ids 0 to 65535 of its namespace are
// those of a range of the host that nobody has, so that programs which got out of everything else would own
// nothing. The range's own numbers stand for the host's first 65536 ids in turn, and all others for
// themselves: the engine has all ids, and with them root's rights over files. Containers get the range alone,
// see package run.
//
// Files keep their owners all the same. The engine sees the host's file systems through mounts that are
// mapped by its own namespace (mount_setattr(2), MOUNT_ATTR_IDMAP): whose id on the disk is N is N there too,
// for reading, and for what is made.

const (
	// ownCount is how many ids a container of root's has, and ownLast those of a full map, which leaves out
	// the very last.
	ownCount = 1 << 16
	ownLast  = 1<<32 - 1
	// ownFirst is where ids are looked for if none were given to root: systemd's list of uses (UIDS-GIDS.md)
	// has nothing for 0x70000000 to 0x7ffeffff.
	ownFirst, ownEnd = 0x70000000, 0x7fff0000
)

// OwnIDs maps a range of the host for root.
func OwnIDs() (IDMaps, error) {
	if err := allIDs(); err != nil {
		return IDMaps{}, err
	}
	maps := IDMaps{own: true}
	for _, m := range []struct {
		file string
		args *[]string
	}{{"/etc/subuid", &maps.Uid}, {"/etc/subgid", &maps.gid}} {
		data, err := os.ReadFile(m.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return maps, fmt.Errorf("look for subordinate ids: %w", err)
		}
		start, err := ownRange(data)
		if err != nil {
			return maps, fmt.Errorf("look for subordinate ids: read %s: %w", m.file, err)
		}
		*m.args = swapArgs(start)
	}
	return maps, nil
}

// ownRange returns the first id of a range for root, by the content of /etc/subuid or /etc/subgid: root's own
// if it has one that is long enough, else one that is nobody's.
func ownRange(file []byte) (uint64, error) {
	roots, err := parseSubIDs(bytes.NewReader(file), "root", 0)
	if err != nil {
		return 0, err
	}
	for _, r := range roots {
		if r.Start >= ownCount && r.Count >= ownCount && r.Start+ownCount <= ownLast {
			return r.Start, nil
		}
	}
	shared, err := subid.ParseSubID(bytes.NewReader(file))
	if err != nil {
		return 0, err
	}
	for start := int64(ownFirst); start < ownEnd; start += ownCount {
		if !slices.ContainsFunc(shared,
			func(l subid.SubID) bool { return l.SubID < start+ownCount && start < l.SubID+l.Count }) {
			return uint64(start), nil
		}
	}
	return 0, errors.New("no range of 65536 ids is free")
}

// swapArgs maps the first ids of a namespace to a range of the host that begins at start, the numbers of that
// range to the host's first ids, and all others to themselves.
func swapArgs(start uint64) []string {
	var args []string
	for _, r := range [][3]uint64{
		{0, start, ownCount},
		{ownCount, ownCount, start - ownCount},
		{start, 0, ownCount},
		{start + ownCount, start + ownCount, ownLast - start - ownCount},
	} {
		if r[2] == 0 {
			continue
		}
		for _, n := range r {
			args = append(args, strconv.FormatUint(n, 10))
		}
	}
	return args
}

// allIDs refuses a root who is one of a user namespace: it may not map the host's file systems.
func allIDs() error {
	if inUserNamespace() {
		return &Error{
			Cause: "this root is one of a user namespace, which may not map file systems to other ids",
			Fix:   "use the isolation root or auto, or run as an ordinary user",
		}
	}
	return nil
}

// mayMount reports whether this process has CAP_SYS_ADMIN.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// hostCopies are copies of all mounts that this process sees, not mounted yet; those below come after those above.
type hostCopies []hostCopy

type hostCopy struct {
	file *os.File
	id   uint64
	at   string
}

// copyHost copies the mounts.
func copyHost() (copies hostCopies, err error) {
	defer func() {
		if err != nil {
			copies.close()
		}
	}()
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	for _, m := range list {
		// Others are below another mount, and not seen.
		if id, err := mounts.IDAt(unix.AT_FDCWD, m.Mountpoint); err != nil || id != uint64(m.ID) {
			continue
		}
		fd, err := mounts.OpenTree(m.Mountpoint, false)
		if err != nil {
			return copies, fmt.Errorf("copy the mount %s: %w", m.Mountpoint, err)
		}
		copies = append(copies, hostCopy{os.NewFile(uintptr(fd), m.Mountpoint), uint64(m.ID), m.Mountpoint})
	}
	if len(copies) == 0 || !slices.ContainsFunc(copies, func(m hostCopy) bool { return m.at == "/" }) {
		return copies, &Error{Cause: "the root directory is no mount", Fix: "use the isolation root or auto"}
	}
	slices.SortStableFunc(copies, func(a, b hostCopy) int { return strings.Compare(a.at, b.at) })
	return copies, nil
}

func (h hostCopies) close() {
	for _, m := range h {
		m.file.Close()
	}
}

// files are the copies, for a child.
func (h hostCopies) files() []*os.File {
	files := make([]*os.File, len(h))
	for i, m := range h {
		files[i] = m.file
	}
	return files
}

// places are where the copies are to be mounted.
func (h hostCopies) places() []string {
	places := make([]string, len(h))
	for i, m := range h {
		places[i] = m.at
	}
	return places
}

// mapTo maps the copies by the user namespace of a process. What cannot be mapped, such as the kernel's own
// file systems, can be read as the rights of all and of root allow, but not written to: what was made there
// would be nobody's. The error says that one of the directories needed is such a place.
func (h hostCopies) mapTo(pid int, needed ...string) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return err
	}
	defer namespace.Close()
	refused := map[uint64]error{}
	for _, m := range h {
		fd := int(m.file.Fd())
		attributes := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())}
		err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attributes)
		if err == nil {
			continue
		}
		refused[m.id] = fmt.Errorf("map %s: %w", m.at, err)
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make %s read-only: %w", m.at, err)
		}
	}
	for _, dir := range needed {
		id, err := mounts.IDAt(unix.AT_FDCWD, ExistingDir(dir))
		if err != nil {
			return err
		}
		if err := refused[id]; err != nil {
			return err
		}
	}
	return nil
}

// enterMounts mounts what hostCopies are open from a descriptor on, each at its place, and makes that the
// root directory of this process, which has a mount namespace of its own. It returns a name of this program
// there.
func enterMounts(first int, places []string) (program string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	before, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	if program, err = os.Readlink("/proc/self/exe"); err != nil {
		return "", err
	}
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", dirfd.PathError("open", "/", err)
	}
	defer unix.Close(old)
	for i, at := range places {
		if err := mounts.Attach(first+i, at); err != nil {
			return "", dirfd.PathError("mount", at, err)
		}
		if at == "/" {
			// As in enterRoot: names begin at the new root directory then, and the old one is mounted over it.
			if err := errors.Join(unix.Fchdir(first+i), unix.PivotRoot(".", ".")); err != nil {
				return "", dirfd.PathError("pivot_root", at, err)
			}
		}
		if err := unix.Close(first + i); err != nil {
			return "", err
		}
	}
	if err := errors.Join(unix.Fchdir(old), unix.Unmount(".", unix.MNT_DETACH)); err != nil {
		return "", fmt.Errorf("leave the root directory: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return "", err
	}
	if after, err := os.Stat(program); err != nil || !os.SameFile(before, after) {
		return "/proc/self/exe", nil // it was removed or replaced meanwhile
	}
	return program, nil
}
