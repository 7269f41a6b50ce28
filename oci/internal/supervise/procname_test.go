// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"testing"
)

func TestProcNamesAreCutBehindLinks(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]procName{
		"/proc": {file: "."}, "/proc/": {file: "."}, "/proc/self/exe": {file: "7/exe", link: true},
		"/proc/thread-self/comm": {file: "7/task/7/comm"},
		"/dev/fd/3":              {file: "7/fd/3", link: true}, "/dev/stdin": {file: "7/fd/0", link: true},
		"/dev/fd":       {file: "7/fd"},
		"/proc/selfish": {file: "selfish"}, "/proc/./self/../1/status": {file: "1/status"}, "/proc/self": {file: "7"},
		"/proc/mounts":         {file: "7/mounts"},
		"/proc/../proc/uptime": {file: "uptime"}, "/dev/../proc/uptime": {file: "uptime"},
		"/proc/self/root/":              {file: "7/root", link: true, rest: "."},
		"/proc/self/cwd/../a/":          {file: "7/cwd", link: true, rest: "../a/"},
		"/proc/1/task/2/root/proc/self": {file: "1/task/2/root", link: true, rest: "proc/self"},
	} {
		if got, inside := parseProcName(name, 7, false); got != want || !inside {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, inside, want)
		}
	}
	for _, name := range []string{"//proc/1", "/dev/null", "/dev/", "/dev/..", "/process", "/proc/../etc/passwd",
		"/proc/..", "/proc/self/../../x", "proc/self"} {
		if got, inside := parseProcName(name, 7, false); inside {
			t.Errorf("%s: got %+v, want none", name, got)
		}
	}
	if got, _ := parseProcName("/proc/self", 7, true); got.file != "self" {
		t.Errorf("the link itself is %+v", got)
	}
}
