// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
)

// killPause is the time between two looks at processes that have been killed.
const killPause = time.Millisecond

// EndChildren ends all that this process has started and that is left of it, where no pid namespace does it:
// the process must be a subreaper, see prctl(2), so that whatever loses its parent becomes its child. It
// collects their status.
func EndChildren() {
	for {
		for _, pid := range Descendants(os.Getpid()) {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return
			}
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		time.Sleep(killPause)
	}
}

// Descendants lists the processes that come of one. Its threads' children are listed below /proc/PID/task only by some
// kernels, parents by all.
func Descendants(of int) []int {
	children := map[int][]int{}
	for _, pid := range processIDs() {
		if parent, ok := ParentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	var found []int
	for next := children[of]; len(next) > 0; next = next[1:] {
		found = append(found, next[0])
		next = append(next, children[next[0]]...)
	}
	return found
}

func processIDs() []int {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic("BUG: " + err.Error()) // a malformed pattern
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ParentOf reads the parent of a process. In /proc/PID/stat it is the second word after the program's name, which is in
// parentheses and may hold any character.
func ParentOf(pid int) (int, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil
}

// KillRooted kills the processes whose root directory is root or below it. Those of other users cannot be told by a
// caller without CAP_SYS_PTRACE, so this is for what endChildren could not do.
func KillRooted(root string) {
	for {
		found := false
		for _, pid := range processIDs() {
			if at, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/root"); err == nil && dirfd.Within(at, root) {
				found = unix.Kill(pid, unix.SIGKILL) == nil || found
			}
		}
		if !found {
			return
		}
		time.Sleep(killPause)
	}
}
