// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/oci"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// candidate is an isolation and the circumstances in which a build uses it.
type candidate struct {
	isolation oci.Isolation
	// account runs the build; empty for root.
	account string
	// command returns the command that runs a program, given by its path, in these circumstances.
	command func(program string, args ...string) *exec.Cmd
}

// envAccount names an account with subordinate ids, for a test that root runs; .ci/run sets it.
const envAccount = "VMDEBOOTSTRAP_TEST_ACCOUNT"

// candidates returns those that root can test, and with envAccount those of an ordinary user. The last one does not use
// the account's subordinate ids.
func candidates() []candidate {
	all := []candidate{
		{isolation: oci.IsolationRoot, command: exec.Command},
		{isolation: oci.IsolationUserNS, command: noNewPrivs(exec.Command)},
		{isolation: oci.IsolationChroot, command: noNewPrivs(ocitest.Docker)},
	}
	if account := os.Getenv(envAccount); account != "" {
		all = append(all, candidate{oci.IsolationUserNS, account, as(account, exec.Command)},
			candidate{oci.IsolationSingle, account, as(account, noNewPrivs(exec.Command))})
	}
	return all
}

// noNewPrivs adds PR_SET_NO_NEW_PRIVS, as Kubernetes (allowPrivilegeEscalation: false), Docker (no-new-privileges) and
// systemd (NoNewPrivileges=) do. Only newuidmap, for an account's own ids, needs the privileges that it takes away.
// Issue 14, 16: it left the isolations with a namespace without the capabilities that they need.
func noNewPrivs(command func(string, ...string) *exec.Cmd) func(string, ...string) *exec.Cmd {
	return func(program string, args ...string) *exec.Cmd {
		return command("/usr/bin/setpriv", append([]string{"--no-new-privs", program}, args...)...)
	}
}

// limitMemory gives a command a memory cgroup of 2 GiB, as a pod may have. The group is named after the test's process
// and removed when the test ends.
func limitMemory(t *testing.T, command func(string, ...string) *exec.Cmd, name string) func(string,
	...string) *exec.Cmd {
	t.Helper()
	for _, limit := range []string{"/sys/fs/cgroup/memory/*/memory.limit_in_bytes", "/sys/fs/cgroup/*/memory.max"} {
		limit = strings.Replace(limit, "*", fmt.Sprintf("%s-%d", name, os.Getpid()), 1)
		dir := filepath.Dir(limit)
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		f, err := os.OpenFile(limit, os.O_WRONLY, 0) // the kernel makes it, if the directory is a group
		if err != nil {
			continue
		}
		_, err = f.WriteString("2147483648")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return func(program string, args ...string) *exec.Cmd {
			cmd := command(program, args...)
			join := `echo 0 > "$1" && exec -a "$2" "$3" "${@:4}"`
			limited := exec.Command("bash", slices.Concat([]string{"-c", join, "bash", filepath.Join(dir, "cgroup.procs"),
				cmd.Args[0], executable(t, cmd)}, cmd.Args[1:])...)
			limited.SysProcAttr = cmd.SysProcAttr
			return limited
		}
	}
	t.Log("there is no memory cgroup to be had: the memory of builds is not limited")
	return command
}

// executable returns the file of a command; bash would take /proc/self/exe for its own.
func executable(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	if cmd.Path != "/proc/self/exe" {
		return cmd.Path
	}
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// as runs the program as an account, without groups beside that of its name.
func as(account string, command func(string, ...string) *exec.Cmd) func(string, ...string) *exec.Cmd {
	return func(program string, args ...string) *exec.Cmd {
		cmd := command(program, args...)
		return exec.Command("/usr/bin/setpriv", append([]string{"--reuid=" + account, "--regid=" + account, "--clear-groups",
			cmd.Path}, cmd.Args[1:]...)...)
	}
}

// isolationHook checks what a hook can rely on: its directory and the working directory, and working devices in the
// target. The process that it leaves running must not outlive it.
const isolationHook = `#!/bin/sh
set -eu
test "$(pwd)" = "$(dirname "$0")"
test "$(cat words)" = "some words"
echo x > "$1/dev/null"
test ! -s "$1/dev/null"
chroot "$1" sh -c 'head -c 4 /dev/urandom | wc -c > /etc/count; dpkg --audit'
chroot "$1" install -o games -g mail -m 6755 /bin/true /usr/local/bin/ours
ln "$1/etc/count" "$1/etc/count-too"
mkfifo "$1/var/lib/pipe"
echo changed > words
rm gone
sleep 1000 &
`

// TestIsolationsMakeTheSameRootFilesystem builds one system with each kind of isolation, and compares the
// root file systems to the last bit of every tar header. The builds of a minimal system, one for each, take a
// minute on two cores.
func TestIsolationsMakeTheSameRootFilesystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become a root without CAP_SYS_ADMIN; .ci/run does this")
	}
	all := candidates()
	dirs := make([]string, len(all))
	for i, c := range all {
		dirs[i] = isolationDir(t, c)
	}
	for i := range all {
		all[i].command = limitMemory(t, all[i].command, fmt.Sprintf("%s-%d", programName, i))
	}
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { buildWith(t, c, dirs[i]) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	want := tarEntries(t, filepath.Join(dirs[0], "root.tar"))
	if len(want) < 1000 {
		t.Fatalf("only %d files", len(want))
	}
	for i, c := range all[1:] {
		got := tarEntries(t, filepath.Join(dirs[i+1], "root.tar"))
		t.Logf("%s has %d files", c.isolation, len(got))
		differences := 0
		for _, name := range slices.Sorted(maps.Keys(merged(got, want))) {
			if got[name] == want[name] {
				continue
			}
			if differences++; differences < 20 {
				t.Errorf("%s:\n%s: %s\n%s: %s", name, c.isolation, got[name], all[0].isolation, want[name])
			}
		}
	}
}

// isolationDir makes the working directory of a build, which its account can write to.
func isolationDir(t *testing.T, c candidate) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "isolation-"+string(c.isolation)+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for name, text := range map[string]string{"hook.sh": isolationHook, "words": "some words\n", "gone": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The account may have no access to the test binary, which is the program only under the program's name.
	// It is copied before anything is started: a process that is being forked would hold the copy open, which
	// then cannot be executed.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, programName), data, 0o755)); err != nil {
		t.Fatal(err)
	}
	uid, gid := 1, 1 // root must be able to build in other users' directories
	if c.account != "" {
		uid, gid = lookupIDs(t, c.account)
	}
	for _, name := range []string{".", "hook.sh", "words", "gone"} {
		if err := os.Chown(filepath.Join(dir, name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func lookupIDs(t *testing.T, account string) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(account)
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// buildWith builds a tarball in dir.
func buildWith(t *testing.T, c candidate, dir string) {
	cmd := c.command(filepath.Join(dir, programName), "--isolation", string(c.isolation), "--tarball", "root.tar",
		"--debootstrapopts=variant=minbase", "--no-kernel", "--no-acpid", "--no-systemd-networkd",
		"--package=iputils-ping", "--user=alice/secret", "--hostname=same", "--customize=./hook.sh", "--verbose")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "HOME="+dir, "XDG_CACHE_HOME=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", c.isolation, err, out)
		return
	}
	checkOwner(t, c, filepath.Join(dir, "root.tar"))
	words, err := os.ReadFile(filepath.Join(dir, "words"))
	if err != nil || string(words) != "changed\n" {
		t.Errorf("%s: the hook's change to a file is lost: %q (%v)", c.isolation, words, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "gone")); err == nil {
		t.Errorf("%s: the hook's removal of a file is lost", c.isolation)
	}
}

// checkOwner checks that an output belongs to the user who has built it.
func checkOwner(t *testing.T, c candidate, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Error(err)
		return
	}
	uid, gid := 0, 0
	if c.account != "" {
		uid, gid = lookupIDs(t, c.account)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("%s: %s belongs to %d:%d, want %d:%d", c.isolation, name, st.Uid, st.Gid, uid, gid)
	}
}

// tarEntries returns a description of each file in an archive: its whole header and the digest of its content.
func tarEntries(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, r); err != nil {
			t.Fatal(err)
		}
		var pax bytes.Buffer
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			fmt.Fprintf(&pax, " %s=%q", key, h.PAXRecords[key])
		}
		entries[h.Name] = fmt.Sprintf("%c %o %d:%d %d bytes, %s, link %q, device %d:%d,%s %x", h.Typeflag,
			h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.UTC().Format("2006-01-02 15:04:05.000000000"), h.Linkname,
			h.Devmajor, h.Devminor, strings.TrimSpace(pax.String()), digest.Sum(nil)[:8])
	}
}

// merged returns a map with the entries of both; those of b win.
func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
