// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/acl"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// changeOwners is a program that changes owners in many ways, and prints the resulting owners.
func changeOwners([]string) error {
	unix.Umask(0o022)
	if err := errors.Join(os.MkdirAll("/work/sub", 0o755), os.Chdir("/work")); err != nil {
		return err
	}
	do := func(what string, err error) {
		if err != nil {
			fmt.Println(what, "returns", err)
		}
	}
	make := func(name string, mode os.FileMode) {
		do("write "+name, errors.Join(os.WriteFile(name, []byte(name), 0o600), os.Chmod(name, mode)))
	}
	make("file", 0o640)
	do("chown file", unix.Chown("/work/file", 1, 2))
	do("group alone", unix.Fchownat(unix.AT_FDCWD, "sub/../../work/file", -1, 3, 0))
	do("link", os.Symlink("file", "link"))
	do("lchown link", unix.Lchown("link", 70000, 7))
	do("chown by the link", os.Chown("link", 4, -1))
	do("rename", os.Rename("link", "sub/link"))
	do("hard link", os.Link("sub/link", "sub/again"))
	do("fifo", errors.Join(unix.Mkfifo("fifo", 0o600), unix.Lchown("fifo", 5, 6)))
	make("suid", 0o755|os.ModeSetuid|os.ModeSetgid)
	do("chown suid", os.Chown("suid", 0, 8))
	make("locking", 0o644|os.ModeSetgid)
	do("chown locking", os.Chown("locking", 0, 8))
	make("back", 0o644)
	do("there and back", errors.Join(os.Chown("back", 9, 9), os.Chown("back", 0, 0)))
	do("missing", os.Chown("missing", 1, 1))
	do("dir", errors.Join(os.Mkdir("staff", 0o755), os.Chown("staff", 0, 50), os.Chmod("staff", 0o775|os.ModeSetgid)))
	do("in it", errors.Join(os.Mkdir("staff/dir", 0o700), os.Symlink("x", "staff/link"),
		unix.Mkfifo("staff/fifo", 0o600)))
	make("staff/dir/file", 0o600)
	do("unnamed", unnamed("staff"))
	journal := []byte("\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x08\x00\x05\x00\x04\x00\x00\x00" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff")
	do("list", errors.Join(os.Mkdir("journal", 0o755), unix.Setxattr("journal", acl.Access, journal, 0),
		unix.Setxattr("journal", acl.Default, journal, 0)))
	do("below it", errors.Join(os.Mkdir("journal/dir", 0o777), os.WriteFile("journal/file", nil, 0o640),
		os.Symlink("x", "journal/link")))
	do("chmod", errors.Join(os.Mkdir("journal/closed", 0o777), os.Chmod("journal/closed", 0o701)))
	do("no list", errors.Join(os.Mkdir("journal/none", 0o777), unix.Removexattr("journal/none", acl.Access),
		unix.Removexattr("journal/none", acl.Default)))
	do("public", errors.Join(os.Mkdir("public", 0o777), os.Chmod("public", 0o777|os.ModeSticky)))
	copied, err := os.ReadFile("/bin/program")
	if err != nil {
		return err
	}
	do("copy", errors.Join(os.WriteFile("/bin/setgid", copied, 0o755), os.Chown("/bin/setgid", 0, 60),
		os.Chmod("/bin/setgid", 0o755|os.ModeSetgid)))
	do("setgid", runCopy("/bin/setgid", "groups", "by-group"))
	do("copy", errors.Join(os.WriteFile("/bin/setuid", copied, 0o755), os.Chown("/bin/setuid", 61, 62),
		os.Chmod("/bin/setuid", 0o755|os.ModeSetuid)))
	do("setuid", runCopy("/bin/setuid", "groups", "public/by-user"))
	do("neither", runCopy("/bin/program", "groups", "by-root"))
	open, err := os.Open("back")
	if err != nil {
		return err
	}
	do("fchown", open.Chown(10, 12))
	do("chown by /proc", os.Chown(dirfd.ProcPath(int(open.Fd())), -1, 11))
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"program", "ordinary"}
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1001,
		Groups: []uint32{1001, 20}}}
	do("run as an ordinary user", cmd.Run())
	do("as setpriv", runCopy("/bin/program", "setpriv"))
	return filepath.WalkDir(".", func(name string, _ os.DirEntry, err error) error {
		return errors.Join(err, printOwner(name))
	})
}

// runCopy runs a copy of this program.
func runCopy(program string, args ...string) error {
	cmd := exec.Command(program)
	cmd.Args, cmd.Stdout, cmd.Stderr = append([]string{"program"}, args...), os.Stdout, os.Stderr
	return cmd.Run()
}

// groups FILE prints its user and group IDs and creates a file.
func groups(args []string) error {
	ru, eu, su := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	fmt.Println("user", ru, eu, su, "group", rg, eg, sg)
	return os.WriteFile(args[0], nil, 0o600)
}

// setpriv switches to a user before it joins a group, using capabilities that it keeps, as
// setpriv(1) does.
func setpriv([]string) error {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	set := func(nr, id uintptr) error { // only for this thread
		if _, _, errno := unix.RawSyscall(nr, id, id, id); errno != 0 {
			return errno
		}
		return nil
	}
	err := errors.Join(unix.Capget(&header, &data[0]), unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0),
		set(unix.SYS_SETRESUID, 71), unix.Prctl(unix.PR_SET_TIMERSLACK, 12345, 0, 0, 0),
		unix.Capset(&header, &data[0]), set(unix.SYS_SETRESGID, 72), unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0))
	r, e, s := unix.Getresuid()
	_, g, _ := unix.Getresgid()
	fmt.Println("setpriv", r, e, s, g, err)
	return err
}

// ordinary changes owners as an ordinary user.
func ordinary([]string) error {
	r, e, s := unix.Getresuid()
	groups, err := os.Getgroups()
	fmt.Println("users", r, e, s, "effective", os.Geteuid(), "group", os.Getgid(), os.Getegid(), "groups", groups, err)
	fmt.Println("setresuid to root:", unix.Setresuid(0, 0, 0))
	fmt.Println("chown to root:", os.Chown("public/mine", 0, 0))
	err = errors.Join(os.WriteFile("public/mine", nil, 0o666), os.Mkdir("public/dir", 0o777),
		os.Symlink("x", "public/link"))
	fmt.Println("make:", err)
	fmt.Println("chown to root:", os.Chown("public/mine", 0, -1))
	fmt.Println("to a group:", os.Chown("public/mine", -1, 20))
	fmt.Println("to another:", os.Chown("public/mine", -1, 21))
	return nil
}

// unnamed creates a file without a name and then names it.
func unnamed(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o664)
	if err != nil {
		return err
	}
	return errors.Join(unix.Linkat(unix.AT_FDCWD, dirfd.ProcPath(fd), unix.AT_FDCWD, dir+"/named",
		unix.AT_SYMLINK_FOLLOW), unix.Close(fd))
}

// printOwner prints a file's owner, checking every system call that returns it.
func printOwner(name string) error {
	var st unix.Stat_t
	var stx unix.Statx_t
	if err := errors.Join(unix.Lstat(name, &st), unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW,
		unix.STATX_BASIC_STATS, &stx)); err != nil {
		return err
	}
	fmt.Printf("%s %o %d:%d\n", name, st.Mode, st.Uid, st.Gid)
	if stx.Uid != st.Uid || stx.Gid != st.Gid || stx.Ino != st.Ino || uint32(stx.Mode) != st.Mode {
		fmt.Println("but statx says", stx.Uid, stx.Gid, stx.Mode)
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var open unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil || open.Uid != st.Uid || open.Gid != st.Gid || open.Size != st.Size {
		fmt.Println("but fstat says", open.Uid, open.Gid, err)
	}
	list := [4096]byte{}
	n, err := unix.Llistxattr(name, list[:])
	if err != nil {
		fmt.Println("attributes:", err)
	}
	attrs := strings.Split(string(list[:n]), "\x00")
	slices.Sort(attrs)
	for _, attr := range attrs {
		if attr != "" {
			var value [256]byte
			n, err := unix.Lgetxattr(name, attr, value[:])
			fmt.Printf("  %s %x %v\n", attr, value[:max(n, 0)], err)
		}
	}
	return nil
}

// wantOwners is the output of changeOwners. The tests run with and without a single ID, so that the
// kernel itself confirms it.
const wantOwners = `missing returns chown missing: no such file or directory
user 0 0 0 group 0 60 60
user 0 61 61 group 0 0 0
user 0 0 0 group 0 0 0
users 1000 1000 1000 effective 1000 group 1001 1001 groups [20 1001] <nil>
setresuid to root: operation not permitted
chown to root: chown public/mine: no such file or directory
make: <nil>
chown to root: chown public/mine: operation not permitted
to a group: <nil>
to another: chown public/mine: operation not permitted
setpriv 71 71 71 72 <nil>
. 40755 0:0
back 100644 10:11
by-group 100600 0:60
by-root 100600 0:0
fifo 10600 5:6
file 100640 4:3
journal 40755 0:0
  system.posix_acl_access 0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff <nil>
  system.posix_acl_default 0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff <nil>
journal/closed 40701 0:0
  system.posix_acl_access 0200000001000700ffffffff04000500ffffffff080005000400000010000000ffffffff20000100ffffffff <nil>
  system.posix_acl_default 0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff <nil>
journal/dir 40755 0:0
  system.posix_acl_access 0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff <nil>
  system.posix_acl_default 0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff <nil>
journal/file 100640 0:0
  system.posix_acl_access 0200000001000600ffffffff04000500ffffffff080005000400000010000400ffffffff20000000ffffffff <nil>
journal/link 120777 0:0
journal/none 40755 0:0
locking 102644 0:8
public 41777 0:0
public/by-user 100600 61:0
public/dir 40755 1000:1001
public/link 120777 1000:1001
public/mine 100644 1000:20
staff 42775 0:50
staff/dir 42700 0:50
staff/dir/file 100600 0:50
staff/fifo 10600 0:50
staff/link 120777 0:50
staff/named 100644 0:50
sub 40755 0:0
sub/again 120777 70000:7
sub/link 120777 70000:7
suid 100755 0:8
`

func TestOwnersMatchTheKernels(t *testing.T) {
	needsNamespaces(t) // its program runs /proc/self/exe
	t.Parallel()
	want := wantOwners
	if !enoughFor(70000) {
		want = strings.ReplaceAll(want, "70000:7", "0:0")
		want = strings.Replace(want, "missing returns", "lchown link returns invalid argument\nmissing returns", 1)
	}
	for _, driver := range []string{host.DriverOverlay, host.DriverVFS} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			e := openEngineAt(t, t.TempDir(), driver)
			c := scratch(t, e)
			if got := output(t, c, newProcess("owners")); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// In another layer and another process.
			if err := c.Snapshot(t.Context(), "localhost/test:owners", nil); err != nil {
				t.Fatal(err)
			}
			after := want[strings.Index(want, "back "):]
			if err := c.MkdirAll("/work/new", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.Remove("/work/new"); err != nil {
				t.Fatal(err)
			}
			if got := output(t, c, newProcess("show", "/work")); !strings.HasSuffix(got, after) {
				t.Errorf("after a snapshot\n%s\nwant\n%s", got, after)
			}
			if uid, gid := ownerOf(t, c, "/work/file"); uid != 4 || gid != 3 {
				t.Errorf("from outside, file belongs to %d:%d", uid, gid)
			}
		})
	}
}

// enoughFor reports whether a container has a user of that ID.
func enoughFor(id int) bool {
	if here.Isolation == host.IsolationSingle {
		return true
	}
	if here.OwnRange {
		return id < 1<<16 // of all IDs that the engine has, a container gets the first range
	}
	ids, err := host.SameIDs("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for _, r := range ids {
		if id < int(r.ContainerID)+int(r.Size) {
			return true
		}
	}
	return false
}

func TestProgramsRunAsTheRightUser(t *testing.T) {
	t.Parallel()
	c := scratch(t, openEngine(t))
	if err := c.MkdirAll("/work/public", 0o777); err != nil {
		t.Fatal(err)
	}
	p := newProcess("ordinary")
	p.Cwd, p.User.UID, p.User.GID, p.User.AdditionalGids = "/work", 1000, 1001, []uint32{20}
	want := "users 1000 1000 1000 effective 1000 group 1001 1001 groups [20] <nil>\n"
	if got := output(t, c, p); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if uid, gid := ownerOf(t, c, "/work/public/mine"); uid != 1000 || gid != 20 {
		t.Errorf("its file belongs to %d:%d", uid, gid)
	}
}
