// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ownerxattr"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// answer makes a call in the caller's place. An error is errLeave, errAnswered, a unix.Errno or a lostOwner.
func (s *Supervisor) answer(q *notification) (int64, error) {
	c := s.calls[seccomp.Key{Arch: q.Data.Arch, Number: q.Data.Nr}]
	switch c.Op {
	case seccomp.OpGetdents:
		return s.getdents(q)
	case seccomp.OpLook:
		return 0, s.look(q)
	case seccomp.OpMount:
		return 0, s.mount(q)
	case seccomp.OpClone:
		return 0, s.clone(q)
	case seccomp.OpUmount:
		return 0, s.umount(q, c)
	case seccomp.OpChown:
		return 0, s.chown(q, c)
	case seccomp.OpStat, seccomp.OpStat386, seccomp.OpStatx:
		return 0, s.stat(q, c)
	case seccomp.OpListxattr:
		return s.listxattr(q, c)
	case seccomp.OpGetxattr, seccomp.OpSetxattr, seccomp.OpRemovexattr:
		return s.xattr(q, c)
	case seccomp.OpOpen, seccomp.OpMkdir, seccomp.OpMknod, seccomp.OpSymlink:
		return 0, s.create(q, c)
	case seccomp.OpExec:
		return 0, s.exec(q, c)
	default:
		return s.credentials(q, c)
	}
}

// chown notes another owner.
func (s *Supervisor) chown(q *notification, c seccomp.Call) error {
	to := owners.Owner{UID: argID(q, c, c.Arg), GID: argID(q, c, c.Arg+1)}
	fd, err := s.open(q, c)
	if err != nil {
		return errLeave // there is no such file, and the kernel says so
	}
	defer unix.Close(fd)
	who, err := s.table.of(s.proc, q.PID)
	if err != nil || !s.valid(q) {
		return errLeave // killed
	}
	if !who.privileged() {
		if err := mayGive(fd, to, who); err != nil {
			return err
		}
	}
	if err := owners.Chown(fd, to); err != nil {
		var lost *owners.LostError
		if errors.As(err, &lost) {
			return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(fd), lost)}
		}
		return err
	}
	return nil
}

// mayGive is the rule of chown(2) for those who are not root: a file of their own, to a group of theirs.
func mayGive(fd int, to owners.Owner, who credentials) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	o, err := owners.ReadFD(fd, st.Mode)
	if err != nil {
		return &owners.LostError{Err: err}
	}
	after := o.Merged(to)
	if o.UID != who.ids[seccomp.FileUser] || after.UID != o.UID || after.GID != o.GID && !who.inGroup(after.GID) {
		return unix.EPERM
	}
	return nil
}

// argID is an argument that is an id.
func argID(q *notification, c seccomp.Call, arg int) uint32 {
	id := uint32(q.Data.Args[arg])
	if c.Short {
		if id &= 0xffff; id == 0xffff {
			return owners.NoID
		}
	}
	return id
}

// stat tells the noted owner of a file that has one.
func (s *Supervisor) stat(q *notification, c seccomp.Call) error {
	fd, err := s.open(q, c)
	if err != nil {
		return errLeave
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errLeave
	}
	o, err := owners.ReadFD(fd, st.Mode)
	if err != nil {
		return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(fd), err)}
	}
	if o == owners.Root || !s.valid(q) {
		return errLeave
	}
	st.Uid, st.Gid = o.UID, o.GID
	address := q.Data.Args[c.Arg]
	switch c.Op {
	case seccomp.OpStatx:
		var stx unix.Statx_t
		flags := int(q.Data.Args[c.Flags])&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC) | unix.AT_EMPTY_PATH
		if err := unix.Statx(fd, "", flags, int(q.Data.Args[3]), &stx); err != nil {
			return err
		}
		stx.Uid, stx.Gid = o.UID, o.GID
		return writeMemory(q.PID, address, bytesOf(&stx))
	case seccomp.OpStat386:
		return writeMemory(q.PID, address, stat386(&st))
	default:
		return writeMemory(q.PID, address, bytesOf(&st))
	}
}

// bytesOf is a structure of the kernel as it is in memory.
func bytesOf[T unix.Stat_t | unix.Statx_t](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// stat386 is a struct stat64 of arch/x86/include/uapi/asm/stat.h for 32-bit programs.
func stat386(st *unix.Stat_t) []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes all
		}
	}
	put(st.Dev, uint32(0), uint32(st.Ino), st.Mode, uint32(st.Nlink), st.Uid, st.Gid, st.Rdev, uint32(0), st.Size,
		uint32(st.Blksize), uint64(st.Blocks))
	put(uint32(st.Atim.Sec), uint32(st.Atim.Nsec), uint32(st.Mtim.Sec), uint32(st.Mtim.Nsec), uint32(st.Ctim.Sec),
		uint32(st.Ctim.Nsec), st.Ino)
	return b.Bytes()
}

// listxattr leaves out the notes, so that programs which copy attributes do not copy owners against their will.
func (s *Supervisor) listxattr(q *notification, c seccomp.Call) (int64, error) {
	fd, err := s.open(q, c)
	if err != nil {
		return 0, errLeave
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, errLeave
	}
	n, err := unix.Listxattr(dirfd.ProcPath(fd), s.buf) // as long as any list can be, but for one byte
	if err != nil {
		return 0, errLeave
	}
	names := listed(s.buf[:n], st.Mode)
	size := q.Data.Args[c.Arg+1]
	switch {
	case bytes.Equal(names, s.buf[:n]) || !s.valid(q):
		return 0, errLeave
	case size == 0:
		return int64(len(names)), nil
	case uint64(len(names)) > size:
		return 0, unix.ERANGE
	}
	return int64(len(names)), writeMemory(q.PID, q.Data.Args[c.Arg], names)
}

// listed is a list of attributes without notes: each name has a zero byte behind it.
func listed(list []byte, mode uint32) []byte {
	var names []byte
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list, []byte{0}), []byte{0}) {
		system, isACL := ownerxattr.ACL(string(name))
		switch {
		case isACL:
			name = []byte(system)
		case len(name) == 0, ownerxattr.Is(string(name)), string(name) == ownerxattr.NameFor(mode):
			continue
		}
		names = append(append(names, name...), 0)
	}
	return names
}

// exec makes who starts a setuid or setgid program its owner.
func (s *Supervisor) exec(q *notification, c seccomp.Call) error {
	fd, err := s.open(q, c)
	if err != nil {
		return errLeave
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errLeave
	}
	who, err := s.table.of(s.proc, q.PID)
	if err != nil {
		return errLeave
	}
	o, err := owners.ReadFD(fd, st.Mode)
	if err != nil {
		return &owners.LostError{Err: fmt.Errorf("%s: %w", s.describe(fd), err)}
	}
	after := who.started(st.Mode, o)
	if after == who || !isELF(fd) || !s.valid(q) { // a script's bits mean nothing
		return errLeave
	}
	if err := s.table.set(s.proc, q.PID, after); err != nil {
		return &owners.LostError{Err: fmt.Errorf("become %v: %w", after.files(), err)}
	}
	return errLeave
}

// isELF reports whether an open file is a program of its own, and not a script.
func isELF(fd int) bool {
	f, err := os.Open(dirfd.ProcPath(fd))
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == elf.ELFMAG
}

// credentials lets programs become users that are not there.
func (s *Supervisor) credentials(q *notification, c seccomp.Call) (int64, error) {
	if c.Op == seccomp.OpPrctl {
		switch q.Data.Args[0] {
		case unix.PR_SET_KEEPCAPS:
		case unix.PR_SET_TIMERSLACK: // it says who the process is, see credentials
			return 0, nil
		default:
			return 0, errLeave
		}
	}
	who, err := s.table.of(s.proc, q.PID)
	if err != nil {
		return 0, errLeave
	}
	args := q.Data.Args
	switch c.Op {
	case seccomp.OpGetID:
		return int64(who.ids[c.ID]), nil
	case seccomp.OpGetIDs:
		for i := range 3 {
			if err := writeMemory(q.PID, args[i],
				binary.NativeEndian.AppendUint32(nil, who.ids[c.ID+seccomp.IDKind(i)])); err != nil {
				return 0, err
			}
		}
		return 0, nil
	case seccomp.OpGetGroups:
		n := len(who.groups) / 4
		switch size := int(int32(args[0])); {
		case size == 0:
			return int64(n), nil
		case size < n:
			return 0, unix.EINVAL
		}
		return int64(n), writeMemory(q.PID, args[1], []byte(who.groups))
	}
	result := int64(0)
	switch c.Op {
	case seccomp.OpSetID:
		who, err = who.set(c.ID, uint32(args[0]))
	case seccomp.OpSetIDs:
		ids := []uint32{uint32(args[0]), uint32(args[1]), uint32(args[2])}
		who, err = who.setAll(c.ID, ids[:c.Arg])
	case seccomp.OpSetFSID:
		result = int64(who.ids[c.ID+file])
		if id := uint32(args[0]); who.mayBecome(c.ID, id) && id != owners.NoID {
			who.ids[c.ID+file] = id
		}
	case seccomp.OpPrctl:
		if !who.privileged() {
			return 0, errLeave
		}
		who.keeps = args[1] == 1
	case seccomp.OpSetGroups:
		if !who.privileged() {
			return 0, unix.EPERM
		}
		const most = 65536 // NGROUPS_MAX
		if args[0] > most {
			return 0, unix.EINVAL
		}
		data := make([]byte, 4*args[0])
		err = ReadMemory(q.PID, args[1], data)
		groups := make([]uint32, args[0])
		for i := range groups {
			groups[i] = binary.NativeEndian.Uint32(data[4*i:])
		}
		who.groups = packGroups(groups)
	default:
		return 0, errLeave
	}
	if err != nil {
		return 0, err
	}
	if !s.valid(q) {
		return 0, errLeave
	}
	if err := s.table.set(s.proc, q.PID, who); err != nil {
		return 0, &owners.LostError{Err: fmt.Errorf("become %v: %w", who.files(), err)}
	}
	return result, nil
}
