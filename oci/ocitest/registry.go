// SPDX-License-Identifier: Apache-2.0

package ocitest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// aliceEntry is the htpasswd entry of the user alice, whose password is "secret".
const aliceEntry = "alice:$2b$04$O4frEZCzKTtWeLstFGYMueh7K1RchApOY1ptmbcYjnr4W3mlj8cgq\n"

// StartRegistry starts a container registry on the loopback interface and returns its address; program is the path of
// Debian's docker-registry. With login, only the user alice with the password "secret" has access.
func StartRegistry(t testing.TB, program string, login bool) (address string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", dir, address)
	files := map[string]string{}
	if login {
		files["htpasswd"] = aliceEntry
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
	}
	files["config.yml"] = config
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "serve", filepath.Join(dir, "config.yml"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			c.Close()
			return address
		}
		select {
		case err := <-ended:
			t.Fatalf("the registry ended: %v", err)
		case <-t.Context().Done():
			t.Fatalf("the registry does not answer: %v", err)
		case <-time.After(10 * time.Millisecond): // between two polls
		}
	}
}
