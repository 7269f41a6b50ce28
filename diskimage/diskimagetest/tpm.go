// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TPM starts an emulated TPM 2 for one machine, and returns the arguments for QEMU that connect it.
// The directory has the state of the TPM; an empty one is a new TPM. It ends with the test.
func TPM(t testing.TB, state string) []string {
	t.Helper()
	// A short name: that of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "tpm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "control")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	control, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	// The program inherits the socket: QEMU can connect to it before the program is ready.
	cmd := exec.Command(Tool(t, "swtpm"), "socket", "--tpm2", "--tpmstate", "dir="+state, "--ctrl", "type=unixio,fd=3")
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{control}, t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the state is on disk
		_ = cmd.Wait()
	})
	return []string{
		"-chardev", fmt.Sprintf("socket,id=tpm,path=%s", socket), "-tpmdev", "emulator,id=tpm0,chardev=tpm",
		"-device", "tpm-tis,tpmdev=tpm0",
	}
}
