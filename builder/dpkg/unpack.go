// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unpacker unpacks packages one after the other.
type unpacker struct {
	Process
	call    call
	db      *database
	settled settled
	// began is the time of last access that dpkg gives to the files of one run.
	began time.Time
	// version is that of the real dpkg, once it is known.
	version string
	// ids are the numbers of owners by name, as far as asked for.
	users, groups map[string]int
	// triggered is set when a trigger has been activated.
	triggered bool
}

// unpack unpacks one package. After an error that wraps errNotOurs nothing has happened that the real dpkg would not do
// again: all that can have run is the preinst.
func (u *unpacker) unpack(d *deb) error {
	places, err := inspect(d, u.db, u.settled, u.call)
	if err != nil {
		return err
	}
	if len(u.db.byName[d.name()]) == 0 {
		fmt.Fprintf(u.Stdout, "Selecting previously unselected package %s.\n", d.infoName())
	}
	fmt.Fprintf(u.Stdout, "Preparing to unpack %s ...\n", shortName(d.file))
	u.report("install", d)
	if err := u.activateByName(d); err != nil {
		return err
	}
	u.reportState("half-installed", d)
	if err := u.writeControl(d); err != nil {
		return err
	}
	if err := u.preinst(d); err != nil {
		return err
	}
	fmt.Fprintf(u.Stdout, "Unpacking %s (%s) ...\n", d.infoName(), d.version())
	for i, m := range d.members {
		if err := u.write(m, places[i]); err != nil {
			return fmt.Errorf("unpack %s: %w", d.file, err)
		}
	}
	if err := u.register(d); err != nil {
		return fmt.Errorf("register %s: %w", d.name(), err)
	}
	u.reportState(unpacked, d)
	return nil
}

// shortName is the name of a file as dpkg prints it.
func shortName(file string) string {
	const longName = 30
	short := file
	for len(short) > longName {
		_, rest, ok := strings.Cut(strings.TrimPrefix(short, "/"), "/")
		if !ok {
			break
		}
		short = "/" + rest
	}
	if short == file {
		return file
	}
	return "..." + short
}

// writeControl writes the control files to the directory in which dpkg runs the preinst. Debconf reads the templates
// there.
func (u *unpacker) writeControl(d *deb) error {
	dir := u.db.path(scriptDir)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, f := range d.control {
		name := path.Join(dir, f.name)
		if err := os.WriteFile(name, f.data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(name, fs.FileMode(f.header.Mode).Perm()); err != nil {
			return err
		}
		if err := os.Chtimes(name, u.began, f.header.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// preinst runs the package's preinst.
func (u *unpacker) preinst(d *deb) error {
	f := d.find("preinst")
	if f == nil {
		return nil
	}
	script := u.db.path(scriptDir + "/preinst")
	const scriptMode = 0o755
	if err := os.Chmod(script, scriptMode); err != nil {
		return err
	}
	if u.version == "" {
		version, err := realVersion()
		if err != nil {
			return notOurs("%w", err)
		}
		u.version = version
	}
	cmd := exec.Command(script, "install")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", u.Stdin, u.Stdout, u.Stderr
	cmd.Env = append(slices.Clone(u.Environ), "DPKG_ADMINDIR="+u.db.dir, "DPKG_ROOT=", "DPKG_FORCE="+u.call.forced(),
		"DPKG_MAINTSCRIPT_PACKAGE="+d.name(), "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
		"DPKG_MAINTSCRIPT_ARCH="+d.arch(), "DPKG_MAINTSCRIPT_NAME=preinst", "DPKG_MAINTSCRIPT_DEBUG=0",
		"DPKG_RUNNING_VERSION="+u.version)
	if err := cmd.Run(); err != nil {
		return notOurs("its preinst: %w", err)
	}
	return nil
}

// write writes a member of the package.
func (u *unpacker) write(m member, p place) error {
	name := m.path
	if p == replaced {
		if same, err := u.hasWritten(m); err != nil || same {
			return err
		}
	}
	switch p {
	case there:
		return nil
	case beside, replaced:
		name += conffileSuffix
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	err := u.make(m, name)
	if p == free && errors.Is(err, fs.ErrExist) {
		// The preinst has made it, or the package has it by another name too, below a link to a directory.
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return nil
		}
		return u.write(m, replaced)
	}
	if err == nil && p == replaced {
		err = os.Rename(name, m.path)
	}
	return err
}

// hasWritten reports whether the file that a member is to replace is the same in everything. Debootstrap extracts the
// required packages before it has them unpacked by dpkg. As after a replacement, the directory has been changed now.
func (u *unpacker) hasWritten(m member) (bool, error) {
	var st unix.Stat_t
	if m.header.Typeflag != tar.TypeReg || unix.Lstat(m.path, &st) != nil {
		return false, nil
	}
	uid, gid := u.owner(m.header)
	const names = 1 // of another name dpkg would make another file
	if st.Mode != unix.S_IFREG|uint32(m.header.Mode)&0o7777 || st.Size != int64(len(m.content)) || st.Nlink != names ||
		int(st.Uid) != uid || int(st.Gid) != gid ||
		st.Mtim != unix.NsecToTimespec(m.header.ModTime.Unix()*int64(time.Second)) {
		return false, nil
	}
	if n, err := unix.Llistxattr(m.path, nil); err != nil && !errors.Is(err, unix.EOPNOTSUPP) || n > 0 {
		return false, nil // it is replaced
	}
	if content, err := os.ReadFile(m.path); err != nil || !bytes.Equal(content, m.content) {
		return false, nil // it is replaced
	}
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	dir := path.Dir(m.path)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{now, now}, 0); err != nil {
		return false, &os.PathError{Op: "set the time of", Path: dir, Err: err}
	}
	return true, nil
}

// make makes a member under a name.
func (u *unpacker) make(m member, name string) error {
	h := m.header
	uid, gid := u.owner(h)
	mode := uint32(h.Mode) & 0o7777
	times := []unix.Timespec{unix.NsecToTimespec(u.began.Unix() * int64(time.Second)),
		unix.NsecToTimespec(h.ModTime.Unix() * int64(time.Second))}
	var err error
	switch h.Typeflag {
	case tar.TypeReg:
		return makeFile(name, m.content, uid, gid, mode, times)
	case tar.TypeLink:
		target := path.Clean("/" + h.Linkname)
		if err := os.Link(target, name); err != nil {
			return err
		}
		return nil
	case tar.TypeSymlink:
		if err := os.Symlink(h.Linkname, name); err != nil {
			return err
		}
		err = errors.Join(unix.Lchown(name, uid, gid),
			unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW))
	case tar.TypeDir:
		if err := unix.Mkdir(name, 0); err != nil {
			return &os.PathError{Op: "mkdir", Path: name, Err: err}
		}
		err = errors.Join(unix.Chown(name, uid, gid), unix.Chmod(name, mode),
			unix.UtimesNanoAt(unix.AT_FDCWD, name, times, 0))
	}
	if err != nil {
		return fmt.Errorf("set the attributes of %s: %w", name, err)
	}
	return nil
}

// makeFile makes a regular file.
func makeFile(name string, content []byte, uid, gid int, mode uint32, times []unix.Timespec) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	err = errors.Join(unix.Fchown(fd, uid, gid), unix.Fchmod(fd, mode),
		unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH))
	if err != nil {
		return errors.Join(fmt.Errorf("set the attributes of %s: %w", name, err), f.Close())
	}
	return f.Close()
}

// owner returns the numbers of a member's owner: those of its names in this system, as far as they are known.
func (u *unpacker) owner(h *tar.Header) (uid, gid int) {
	return id(u.users, h.Uname, h.Uid, func(name string) (string, error) {
			a, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return a.Uid, nil
		}), id(u.groups, h.Gname, h.Gid, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
}

// id returns the number of a name, which known remembers, or number if the name is unknown.
func id(known map[string]int, name string, number int, lookup func(string) (string, error)) int {
	if name == "" {
		return number
	}
	n, ok := known[name]
	if !ok {
		n = -1
		if text, err := lookup(name); err == nil {
			if parsed, err := strconv.Atoi(text); err == nil {
				n = parsed
			}
		}
		known[name] = n
	}
	if n < 0 {
		return number
	}
	return n
}

// register writes what the database keeps of a package.
func (u *unpacker) register(d *deb) error {
	pkg := d.infoName()
	var list strings.Builder
	for _, m := range d.members {
		list.WriteString(m.path + "\n")
		if u.db.owned != nil {
			u.db.owned[m.path] = true
		}
	}
	if err := u.db.write(infoFile(pkg, "list"), list.String()); err != nil {
		return err
	}
	if err := u.addInterests(d); err != nil {
		return err
	}
	if err := u.activateByPath(d); err != nil {
		return err
	}
	dir := u.db.path(scriptDir)
	for _, f := range d.control {
		if f.name == "control" {
			continue
		}
		if err := os.Rename(path.Join(dir, f.name), u.db.path(infoFile(pkg, f.name))); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if d.find("md5sums") == nil {
		if err := u.db.write(infoFile(pkg, "md5sums"), checksums(d)); err != nil {
			return err
		}
	}
	text, err := stanza(d)
	if err != nil {
		return err
	}
	u.db.replace(&record{text: text, fields: d.fields, state: unpacked})
	return nil
}

// checksums returns the file md5sums of a package that brings none.
func checksums(d *deb) string {
	var b strings.Builder
	sums := map[string][md5.Size]byte{}
	for _, m := range d.members {
		switch m.header.Typeflag {
		case tar.TypeReg:
			sums[m.path] = md5.Sum(m.content)
		case tar.TypeLink:
			sums[m.path] = sums[path.Clean("/"+m.header.Linkname)]
		default:
			continue
		}
		fmt.Fprintf(&b, "%x  %s\n", sums[m.path], strings.TrimPrefix(m.path, "/"))
	}
	return b.String()
}

// stanza returns the package's stanza of the status file.
func stanza(d *deb) (string, error) {
	conffiles, err := d.conffiles()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(d.text, "\n") + "\nStatus: install ok unpacked\n")
	if len(conffiles) > 0 {
		b.WriteString("Conffiles:\n")
		for _, name := range conffiles {
			b.WriteString(" " + name + " newconffile\n")
		}
	}
	return b.String(), nil
}

// report tells the log and the readers of --status-fd what begins.
func (u *unpacker) report(action string, d *deb) {
	u.log("%s %s:%s <none> %s", action, d.name(), d.arch(), d.version())
	u.send("processing: %s: %s", action, d.infoName())
}

// reportState tells them the new state of a package.
func (u *unpacker) reportState(state string, d *deb) {
	u.log("status %s %s:%s %s", state, d.name(), d.arch(), d.version())
	u.send("status: %s: %s", d.infoName(), state)
}

// log writes a line to dpkg's log. Like dpkg it goes on without one.
func (u *unpacker) log(format string, args ...any) {
	if u.settled.log == "" {
		return
	}
	f, err := os.OpenFile(u.settled.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "%s ", u.Now().Format("2006-01-02 15:04:05"))
	fmt.Fprintf(w, format+"\n", args...)
	_ = w.Flush()
}

// send writes a line for the readers of --status-fd. A reader that has gone is no reason to end. The file descriptors
// are the caller's, and other programs inherit them: so no os.File may own them.
func (u *unpacker) send(format string, args ...any) {
	line := fmt.Appendf(nil, format+"\n", args...)
	for _, fd := range u.call.statusFDs {
		_, _ = unix.Write(fd, line)
	}
}
