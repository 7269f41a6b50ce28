// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// What is added to the real id of users or groups for the others.
const (
	effective seccomp.IDKind = iota + 1
	saved
	file
)

// credentials are who a process has become, by setuid(2) and its like. In truth it is always the one user there is.
type credentials struct {
	ids [seccomp.IDKinds]uint32
	// groups are the supplementary ones, as getgroups(2) writes them.
	groups string
	// keeps: capabilities stay when the user changes (prctl(2), PR_SET_KEEPCAPS); kept: they have.
	keeps, kept bool
}

// packGroups returns supplementary groups in the order and form in which the kernel does.
func packGroups(groups []uint32) string {
	var packed []byte
	for _, g := range slices.Sorted(slices.Values(groups)) {
		packed = binary.NativeEndian.AppendUint32(packed, g)
	}
	return string(packed)
}

// privileged processes may become anybody and give files away.
func (c credentials) privileged() bool { return c.ids[seccomp.EffectiveUser] == 0 || c.kept }

// files is who new files belong to.
func (c credentials) files() owners.Owner {
	return owners.Owner{UID: c.ids[seccomp.FileUser], GID: c.ids[seccomp.FileGroup]}
}

// inGroup reports whether a process belongs to a group.
func (c credentials) inGroup(gid uint32) bool {
	if c.ids[seccomp.FileGroup] == gid {
		return true
	}
	for g := c.groups; len(g) >= 4; g = g[4:] {
		if binary.NativeEndian.Uint32([]byte(g)) == gid {
			return true
		}
	}
	return false
}

// mayBecome reports whether a process may take an id: the privileged any, others one that they have.
func (c credentials) mayBecome(kind seccomp.IDKind, id uint32) bool {
	return id == owners.NoID || c.privileged() || id == c.ids[kind] || id == c.ids[kind+effective] ||
		id == c.ids[kind+saved]
}

// set is setuid(2) or setgid(2).
func (c credentials) set(kind seccomp.IDKind, id uint32) (credentials, error) {
	before := c
	switch {
	case id == owners.NoID:
		return c, unix.EINVAL
	case c.privileged():
		c.ids[kind], c.ids[kind+saved] = id, id
	case id != c.ids[kind] && id != c.ids[kind+saved]:
		return c, unix.EPERM
	}
	c.kept = before.keeps && before.privileged()
	c.ids[kind+effective], c.ids[kind+file] = id, id
	return c, nil
}

// setAll is setreuid(2), setresuid(2) or the same for groups, which set two or three ids.
func (c credentials) setAll(kind seccomp.IDKind, ids []uint32) (credentials, error) {
	before := c
	for i, id := range ids {
		if !before.mayBecome(kind, id) {
			return before, unix.EPERM
		}
		if id != owners.NoID {
			c.ids[kind+seccomp.IDKind(i)] = id
		}
	}
	if len(ids) == 2 && (ids[0] != owners.NoID || ids[1] != owners.NoID && ids[1] != before.ids[kind]) {
		c.ids[kind+saved] = c.ids[kind+effective]
	}
	c.kept = before.keeps && before.privileged()
	c.ids[kind+file] = c.ids[kind+effective]
	return c, nil
}

// started is who a process is that has started a program with that mode and owner.
func (c credentials) started(mode uint32, o owners.Owner) credentials {
	if mode&unix.S_ISUID != 0 {
		c.ids[seccomp.EffectiveUser] = o.UID
	}
	if mode&unix.S_ISGID != 0 && mode&unix.S_IXGRP != 0 {
		c.ids[seccomp.EffectiveGroup] = o.GID
	}
	c.keeps, c.kept = false, false
	for _, kind := range []seccomp.IDKind{seccomp.RealUser, seccomp.RealGroup} {
		c.ids[kind+saved], c.ids[kind+file] = c.ids[kind+effective], c.ids[kind+effective]
	}
	return c
}

// credentialTable remembers who the processes of a container have become. A child is who its parent was, and
// so remains when it starts a program, and nobody tells us of children. So the kernel keeps it: a process
// gets a timer slack (prctl(2)) of some nanoseconds more than usual, which is inherited in just this way and
// otherwise means nothing. How many more is the place of its credentials in known.
//
// The zero value knows root alone.
type credentialTable struct {
	known  []credentials // the first is root
	places map[credentials]int
	usual  int
}

// of returns the credentials of a thread.
func (p *credentialTable) of(proc int, pid uint32) (credentials, error) {
	if len(p.known) == 0 {
		return credentials{}, nil // nobody has become anybody
	}
	slack, err := readSlack(proc, pid)
	if err != nil {
		return credentials{}, err
	}
	if place := slack - p.usual; place > 0 && place < len(p.known) {
		return p.known[place], nil
	}
	return credentials{}, nil
}

// set gives a thread other credentials.
func (p *credentialTable) set(proc int, pid uint32, c credentials) error {
	if len(p.known) == 0 {
		slack, err := readSlack(proc, pid)
		if err != nil {
			return err
		}
		p.known, p.places, p.usual = []credentials{{}}, map[credentials]int{{}: 0}, slack
	}
	place, ok := p.places[c]
	if !ok {
		place = len(p.known)
		p.known = append(p.known, c)
		p.places[c] = place
	}
	name := slackFile(pid)
	fd, err := unix.Openat(proc, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, strconv.AppendInt(nil, int64(p.usual+place), 10))
	return err
}

func slackFile(pid uint32) string { return strconv.FormatUint(uint64(pid), 10) + "/timerslack_ns" }

func readSlack(proc int, pid uint32) (int, error) {
	fd, err := unix.Openat(proc, slackFile(pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var buf [24]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(buf[:n])))
}

// umask returns that of a thread.
func umask(proc int, pid uint32) (uint32, error) {
	fd, err := unix.Openat(proc, strconv.FormatUint(uint64(pid), 10)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), "status")
	defer f.Close()
	var buf [256]byte // it is the second line
	n, err := f.Read(buf[:])
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(buf[:n])) {
		if text, ok := strings.CutPrefix(line, "Umask:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32)
			return uint32(mask), err
		}
	}
	return 0, fmt.Errorf("process %d has no umask", pid)
}
