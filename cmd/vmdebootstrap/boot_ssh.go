// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// prepareSSH makes a key in dir that root of the machine accepts, and a port of this host that leads to the machine's
// sshd. systemd from 252 on installs the key (systemd.system-credentials(7)).
func (b *bootCall) prepareSSH(ctx context.Context, dir string) error {
	key := filepath.Join(dir, "key")
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return &vm.MissingError{What: "ssh-keygen", Package: "openssh-client"}
	}
	cmd := exec.CommandContext(ctx, keygen, "-q", "-t", "ed25519", "-N", "", "-C", programName, "-f", key)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a key with ssh-keygen: %w: %s", err, bytes.TrimSpace(out))
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return err
	}
	// QEMU takes no socket, only the number of a port, which another program may take in between.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	b.machine.SSHPort = free.Addr().(*net.TCPAddr).Port
	b.machine.Strings = append(b.machine.Strings, credential("ssh.authorized_keys.root", public),
		credential("tmpfiles.extra", []byte(appendedKey(string(public)))))
	return free.Close()
}

// credential returns the string by which a machine passes a credential to systemd (systemd.system-credentials(7)).
func credential(name string, content []byte) string {
	return "io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString(content)
}

// appendedKey returns a line of tmpfiles.d(5) that adds a public key to the keys of root, if there are some: the
// credential for the key makes a file where there is none.
func appendedKey(public string) string {
	return `w+ /root/.ssh/authorized_keys - - - - \n` + strings.TrimSuffix(public, "\n") + `\n` + "\n"
}

// connect starts the machine, waits for its sshd and runs ssh, with the user's terminal or with --run's command.
func (b *bootCall) connect(ctx context.Context, dir string) error {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return &vm.MissingError{What: "ssh", Package: "openssh-client"}
	}
	w := b.env.beginWork(b.progress, "boot "+b.image, b.out, b.err)
	machine, err := b.start(ctx, dir, w.display.Stderr(), func(lastLine string) { w.Say("console", lastLine) })
	if err != nil {
		w.end(err)
		return err
	}
	defer machine.Stop()
	err = b.awaitSSH(ctx, machine, w.display.Stderr())
	w.end(err)
	if err != nil {
		return err
	}
	// The console has to be read, or the machine waits for that.
	go func() { _ = machine.Wait(ctx) }()
	args := []string{
		"-i", filepath.Join(dir, "key"), "-p", strconv.Itoa(b.machine.SSHPort), "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-F", "none", "root@127.0.0.1",
	}
	if b.run != "" {
		args = append(args, "--", b.run)
	}
	cmd := exec.CommandContext(ctx, ssh, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = b.env.stdin, b.out, b.err
	err = cmd.Run()
	var exit *exec.ExitError
	const sshFailed = 255 // ssh(1), EXIT STATUS; else the status is that of the command
	switch {
	case errors.As(err, &exit) && b.run == "" && exit.ExitCode() != sshFailed:
		return nil // of the last command that the user typed
	case errors.As(err, &exit) && b.run != "" && exit.ExitCode() != sshFailed:
		return fmt.Errorf("--run: %w", err)
	case err != nil:
		return fmt.Errorf("log in with ssh: %w", err)
	}
	return nil
}

// never matches no text.
const never = `[^\x{0}-\x{10ffff}]`

// awaitSSH waits until the machine's sshd answers. The machine's end, a panic and --timeout end the wait.
// Then the end of its console goes to stderr.
func (b *bootCall) awaitSSH(ctx context.Context, machine *vm.VM, stderr io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	answered := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if sshAnswers(watching, b.machine.SSHPort) {
			close(answered)
			stop()
		}
	}()
	err := b.await(watching, machine, never)
	select {
	case <-answered:
		return nil
	default:
	}
	var unseen *vm.NotSeenError
	if errors.As(err, &unseen) {
		fmt.Fprintln(stderr, unseen.Tail)
		return fmt.Errorf("no sshd answers: %s", unseen.Why)
	}
	return err
}

// sshAnswers asks a port again and again until an SSH server answers; it returns false if ctx ends before. QEMU accepts
// each connection, and closes it as long as the machine does not.
func sshAnswers(ctx context.Context, port int) bool {
	const banner = "SSH-"
	for ; ctx.Err() == nil; wait(ctx, time.Second) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		answer := make([]byte, len(banner))
		_, err = io.ReadFull(conn, answer)
		stop()
		_ = conn.Close()
		if err == nil && string(answer) == banner {
			return true
		}
	}
	return false
}

// wait waits for that time or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
