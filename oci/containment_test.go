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

// Secrets of a build's caller that no program in a container may read. The variables, too, are in
// the caller's environment.
const (
	envSecret     = "OCI_TEST_SECRET"
	envSecretFile = "OCI_TEST_SECRET_FILE"
	envSecretKey  = "OCI_TEST_SECRET_KEY"
	envSocket     = "OCI_TEST_SOCKET"
	secretText    = "the caller's secret"
)

// For each isolation, a program in a container searches everything that the kernel exposes for
// secrets of the caller, and tries to break out as root. Without namespaces it sees the host's
// processes, so there are fewer checks.
func TestHostContainersWorkAndContain(t *testing.T) {
	isolations := []host.Isolation{host.IsolationUserNS, host.IsolationSingle}
	if os.Getuid() == 0 {
		isolations = []host.Isolation{host.IsolationRoot, host.IsolationUserNS, host.IsolationChroot}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(secretText), 0o600); err != nil {
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
			t.Setenv(envSecret, secretText)
			t.Setenv(envSecretFile, secret)
			t.Setenv(envSocket, socket)
			cmd := command(t, "contained", stateDir(t), secretText)
			if out, err := cmd.Output(); err != nil || string(out) != "contained\n" {
				t.Errorf("got %s (%v)", out, err)
			}
		})
	}
}

// contained STATEDIR is a build whose caller has a file open and a key. Its program is containment.
func contained(args []string) error {
	if !here.Inside() {
		if err := leak(); err != nil {
			return err
		}
	}
	goInside()
	ctx := context.Background()
	e, c, err := openScratch(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.MkdirAll("/tmp", 0o755); err != nil {
		return err
	}
	p := newProcess("containment", string(here.Isolation), os.Getenv(envSecretFile), os.Getenv(envSecretKey),
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
	runtime.LockOSThread() // a keyring belongs to a thread
	if _, err := unix.Open(os.Getenv(envSecretFile), unix.O_RDONLY, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 {
		return errno
	}
	key, err := unix.AddKey("user", "vmdebootstrap-test", []byte(secretText), unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		return err
	}
	return os.Setenv(envSecretKey, strconv.Itoa(key))
}

// containment ISOLATION FILE KEY SOCKET searches for secrets of the caller, and prints what it
// found or could do.
func containment(args []string) error {
	isolation, file, socket := host.Isolation(args[0]), args[1], args[3]
	key, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var found []string
	if isolation != host.IsolationChroot {
		found = append(lookAround(file), undo()...)
		found = append(found, useMounts()...)
		// Without namespaces, the outer container must deny access to devices.
		if err := openNode(); err == nil {
			found = append(found, "could: open a device by a node")
		}
	} else if landlockScopes() && unix.Kill(1, 0) == nil {
		found = append(found, "could: signal a process of the host")
	}
	for fd := range 256 {
		text := make([]byte, len(secretText))
		if n, _ := unix.Pread(fd, text, 0); string(text[:max(n, 0)]) == secretText {
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
		found = []string{"contained"}
	}
	_, err = fmt.Println(strings.Join(found, "\n"))
	return err
}

// landlockScopes reports whether the kernel can deny programs access to abstract sockets: since ABI
// 6 of Landlock.
func landlockScopes() bool {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && abi >= 6
}

// lookAround follows the links of all processes in /proc, and tries to read the caller's file
// through them.
func lookAround(file string) (found []string) {
	read := func(name string) {
		if data, err := os.ReadFile(name); err == nil && strings.Contains(string(data), secretText) {
			found = append(found, name+" holds the secret")
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(processes) < 2 {
		found = append(found, fmt.Sprintf("%d processes (%v)", len(processes), err))
	}
	for _, p := range processes {
		read(p + "/environ")
		// The program's own arguments contain the path of the secret, not the secret.
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
			if info.Mode().IsRegular() && info.Size() == int64(len(secretText)) {
				read(link)
			}
			if !info.IsDir() {
				continue
			}
			read(link + file)
			// The link may lead to a /proc.
			others, _ := filepath.Glob(link + "/[0-9]*")
			for _, o := range others {
				read(o + "/root" + file)
				read(o + "/environ")
			}
		}
		if filepath.Base(p) != "1" {
			continue
		}
		// No link of pid 1 can be followed at all: its program is the host's.
		for _, link := range links[:3] {
			if _, err := os.Stat(link); err == nil {
				found = append(found, link+" can be followed")
			}
		}
	}
	return found
}
