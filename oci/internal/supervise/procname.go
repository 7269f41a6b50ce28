// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

// procName is a name in /proc, cut behind the first link of a process that leads to one of its files, such as
// root, cwd or fd/3. What is behind the cut is looked up in the caller's root directory: to the parent an
// absolute link there would mean a file of the host.
type procName struct {
	// file is relative to /proc; "." is that directory itself.
	file string
	// link reports whether file is such a link, and rest is the part of the name behind it; empty if there is none.
	link bool
	rest string
}

// parseProcName returns what a name means to the process pid, and reports whether it is one in /proc. With nofollow a
// link at the end stands for itself.
func parseProcName(name string, pid uint32, nofollow bool) (procName, bool) {
	if !strings.HasPrefix(name, "/proc") && !strings.HasPrefix(name, "/dev/") {
		return procName{}, false
	}
	slash := strings.HasSuffix(name, "/")
	elements := strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
	for len(elements) > 1 && elements[0] == "dev" && elements[1] == ".." {
		elements = elements[2:]
	}
	switch {
	case len(elements) == 0:
		return procName{}, false
	case elements[0] == "proc":
		elements = elements[1:]
	case len(elements) > 1 && elements[0] == "dev" && elements[1] == "fd":
		elements = append([]string{"self"}, elements[1:]...)
	case len(elements) > 1 && elements[0] == "dev":
		fd, ok := map[string]string{"stdin": "0", "stdout": "1", "stderr": "2"}[elements[1]]
		if !ok {
			return procName{}, false
		}
		elements = append([]string{"self", "fd", fd}, elements[2:]...)
	default:
		return procName{}, false
	}
	own := strconv.FormatUint(uint64(pid), 10)
	var file []string
	for i, element := range elements {
		rest := elements[i+1:]
		switch {
		case element == ".":
			continue
		case element == ".." && len(file) == 0:
			again := "/" + strings.Join(rest, "/")
			if slash {
				again += "/"
			}
			return parseProcName(again, pid, nofollow)
		case element == "..":
			file = file[:len(file)-1]
			continue
		}
		file = append(file, element)
		if last := len(rest) == 0 && !slash; len(file) == 1 && (!last || !nofollow) {
			file = followProcLink(element, own)
		}
		if isProcessLink(file) {
			n := procName{file: path.Join(file...), link: true, rest: strings.Join(rest, "/")}
			switch {
			case slash && n.rest == "":
				n.rest = "."
			case slash:
				n.rest += "/"
			}
			return n, true
		}
	}
	return procName{file: path.Join(append([]string{"."}, file...)...)}, true
}

// followProcLink replaces a link of /proc itself that depends on who asks.
func followProcLink(name, own string) []string {
	switch name {
	case "self":
		return []string{own}
	case "thread-self":
		return []string{own, "task", own}
	case "mounts", "net":
		return []string{own, name}
	default:
		return []string{name}
	}
}

// isProcessLink reports whether a name in /proc is a link to a file of a process, see proc(5).
func isProcessLink(file []string) bool {
	if _, err := strconv.Atoi(file[0]); err != nil {
		return false
	}
	file = file[1:]
	if len(file) > 2 && file[0] == "task" {
		file = file[2:]
	}
	switch len(file) {
	case 1:
		return file[0] == "root" || file[0] == "cwd" || file[0] == "exe"
	case 2:
		return file[0] == "fd" || file[0] == "map_files" || file[0] == "ns"
	default:
		return false
	}
}

// process is the process whose file it is; 0 if it is of none.
func (n procName) process() int {
	first, _, _ := strings.Cut(n.file, "/")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return pid
}

// inProc is how names in /proc are looked up: without the links of processes, which are opened one at a time.
func inProc(flags int) *unix.OpenHow {
	return &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
}

// openProcName opens what the caller names (O_PATH), and returns a name by which this process reaches it. With nofollow
// that is one in the open directory, good for calls that do not follow a link at its end.
func (s *Supervisor) openProcName(q *notification, n procName, nofollow bool) (fd int, name string, err error) {
	dir, base := path.Split(n.file)
	switch {
	case n.rest == "" && nofollow:
		fd, err = dirfd.Openat2(s.proc, "./"+dir, inProc(unix.O_PATH|unix.O_DIRECTORY))
	case n.rest == "" && n.link:
		fd, err = unix.Openat(s.proc, n.file, unix.O_PATH|unix.O_CLOEXEC, 0)
	case n.rest == "":
		fd, err = dirfd.Openat2(s.proc, n.file, inProc(unix.O_PATH))
	default:
		rest := n.rest
		dir, base = path.Split(rest)
		if nofollow = nofollow && base != "" && base != "." && base != ".."; nofollow {
			rest = "./" + dir
		}
		fd, err = s.findBehind(q, n, rest, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	}
	if err != nil {
		return -1, "", err
	}
	if nofollow {
		return fd, dirfd.ProcPath(fd) + "/" + base, nil
	}
	return fd, dirfd.ProcPath(fd), nil
}

// findBehind opens a name behind a link of a process.
func (s *Supervisor) findBehind(q *notification, n procName, name string, how unix.OpenHow) (int, error) {
	dir, err := unix.Openat(s.proc, n.file, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how.Resolve = unix.RESOLVE_NO_MAGICLINKS
	return s.findFrom(q, dir, name, how)
}

// mayLook reports whether the caller may have what it asks for. Of processes that are not the container's it gets what
// everybody may read there, and learns what their links are: to tell by /proc/1/root whether it runs in a chroot.
func (s *Supervisor) mayLook(q *notification, call shape, n procName) error {
	pid := n.process()
	if pid == 0 || pid == int(q.PID) || descends(pid, os.Getpid()) {
		return nil
	}
	if n.link {
		if told := call.out != seccomp.NoArg && n.rest == ""; !told {
			return unix.EACCES
		}
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(s.proc, n.file, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if call.opens && (st.Mode&unix.S_IROTH == 0 || opensForWriting(q, call)) {
		return unix.EACCES
	}
	return nil
}

// descends reports whether a process comes of another.
func descends(pid, of int) bool {
	for pid > 1 && pid != of {
		parent, ok := process.ParentOf(pid)
		if !ok {
			return false
		}
		pid = parent
	}
	return pid == of
}
