// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// What the caller of a build has that no program of a container may get hold of. The variables are the caller's, too.
const (
	envSecret     = "OCI_TEST_SECRET"
	envSecretFile = "OCI_TEST_SECRET_FILE"
	envSecretKey  = "OCI_TEST_SECRET_KEY"
	envSocket     = "OCI_TEST_SOCKET"
	secretWords   = "the caller's own words"
)

// A program in a container of each isolation looks for what is the caller's wherever the kernel shows
// something, and tries as root what would lead it out. Without namespaces the host's processes are seen, so
// that less is promised.
func TestHostContainersWorkAndHold(t *testing.T) {
	isolations := []host.Isolation{host.IsolationUserNS, host.IsolationSingle}
	if os.Getuid() == 0 {
		isolations = []host.Isolation{host.IsolationRoot, host.IsolationUserNS, host.IsolationChroot}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(secretWords), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := fmt.Sprintf("@vmdebootstrap-test-%d", os.Getpid())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Setenv(envOnly, string(isolation))
			t.Setenv(envSecret, secretWords)
			t.Setenv(envSecretFile, secret)
			t.Setenv(envSocket, socket)
			cmd := command(t, "walled", stateDir(t), secretWords)
			if out, err := cmd.Output(); err != nil || string(out) != "held\n" {
				t.Errorf("got %s (%v)", out, err)
			}
		})
	}
}

// walled STATEDIR is a build whose caller leaves a file open, and has a key. Its program is walls.
func walled(args []string) error {
	if !here.Inside() {
		if err := leak(); err != nil {
			return err
		}
	}
	goInside()
	ctx := context.Background()
	e, err := Open(ctx, EngineOptions{Place: here, StateDir: args[0]})
	if err != nil {
		return err
	}
	c, err := newScratch(ctx, e)
	if err != nil {
		return err
	}
	if err := c.MkdirAll("/tmp", 0o755); err != nil {
		return err
	}
	p := newProcess("walls", string(here.Isolation), os.Getenv(envSecretFile), os.Getenv(envSecretKey),
		os.Getenv(envSocket))
	var out bytes.Buffer
	err = c.Run(ctx, p, nil, nil, &out)
	fmt.Print(out.String())
	if err != nil {
		return err
	}
	return e.Close()
}

// leak opens the secret file so that programs inherit it, and puts a key into the session keyring.
func leak() error {
	runtime.LockOSThread() // a keyring is a thread's
	if _, err := unix.Open(os.Getenv(envSecretFile), unix.O_RDONLY, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 {
		return errno
	}
	key, err := unix.AddKey("user", "vmdebootstrap-test", []byte(secretWords), unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		return err
	}
	return os.Setenv(envSecretKey, strconv.Itoa(key))
}

// walls ISOLATION FILE KEY SOCKET looks for what is the caller's, and prints what it has found or could do.
func walls(args []string) error {
	isolation, file, socket := host.Isolation(args[0]), args[1], args[3]
	key, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var found []string
	if isolation != host.IsolationChroot {
		found = append(lookAround(file), undo()...)
		found = append(found, useMounts()...)
		// Without namespaces it is for the outer container to keep devices away.
		if err := openNode(); err == nil {
			found = append(found, "could: open a device by a node")
		}
	} else if landlockScopes() && unix.Kill(1, 0) == nil {
		found = append(found, "could: signal a process of the host")
	}
	for fd := range 256 {
		text := make([]byte, len(secretWords))
		if n, _ := unix.Pread(fd, text, 0); string(text[:max(n, 0)]) == secretWords {
			found = append(found, "an inherited file is the caller's")
		}
	}
	text := make([]byte, 100)
	if n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, key, text, 0); err == nil {
		found = append(found, "a key: "+string(text[:n]))
	}
	if conn, err := net.Dial("unix", socket); err == nil && landlockScopes() {
		conn.Close()
		found = append(found, "the socket "+socket)
	}
	found = append(found, breakOut()...)
	if len(found) == 0 {
		found = []string{"held"}
	}
	_, err = fmt.Println(strings.Join(found, "\n"))
	return err
}

// landlockScopes reports whether the kernel can keep programs from abstract sockets: since the sixth ABI of Landlock.
func landlockScopes() bool {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && abi >= 6
}

// lookAround follows all that /proc shows of processes, and reads the file of the caller by it.
func lookAround(file string) (found []string) {
	read := func(name string) {
		if data, err := os.ReadFile(name); err == nil && strings.Contains(string(data), secretWords) {
			found = append(found, name+" holds the secret")
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(processes) < 2 {
		found = append(found, fmt.Sprintf("%d processes (%v)", len(processes), err))
	}
	for _, p := range processes {
		read(p + "/environ")
		// The program itself was told where the secret is, not what.
		read(p + "/cmdline")
		links := []string{p + "/root", p + "/cwd", p + "/exe"}
		for _, dir := range []string{"fd", "map_files"} {
			entries, _ := os.ReadDir(p + "/" + dir)
			for _, e := range entries {
				links = append(links, p+"/"+dir+"/"+e.Name())
			}
		}
		for _, link := range links {
			info, err := os.Stat(link)
			if err != nil {
				continue
			}
			if info.Mode().IsRegular() && info.Size() == int64(len(secretWords)) {
				read(link)
			}
			if !info.IsDir() {
				continue
			}
			read(link + file)
			// It may be a /proc itself.
			others, _ := filepath.Glob(link + "/[0-9]*")
			for _, o := range others {
				read(o + "/root" + file)
				read(o + "/environ")
			}
		}
		if filepath.Base(p) != "1" {
			continue
		}
		// Nothing of pid 1 can be followed at all: its program is the host's.
		for _, link := range links[:3] {
			if _, err := os.Stat(link); err == nil {
				found = append(found, link+" can be followed")
			}
		}
	}
	return found
}
