// SPDX-License-Identifier: Apache-2.0

//go:build mirror && boot

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// withoutNamespaces makes cmd run with a single user id and, unless /proc/sys is read-only as in a container,
// without the right to create user namespaces.
func withoutNamespaces(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	const script = `if (echo 0 > /proc/sys/user/max_user_namespaces) 2> /dev/null; then
	unshare --user true 2> /dev/null && exit 99
fi
exec "$@"`
	// sh passes the file's name as argument 0, by which testscript.Main knows the program.
	name := filepath.Join(t.TempDir(), programName)
	if err := os.Symlink(cmd.Path, name); err != nil {
		t.Fatal(err)
	}
	args := slices.Concat([]string{"--user", "--map-root-user", "sh", "-e", "-c", script, "sh", name}, cmd.Args[1:])
	return exec.Command(diskimagetest.Tool(t, "unshare"), args...)
}

// TestAssembledImagesAreTheSameAndBoot assembles one system with GRUB from a tarball and from a container image of
// several layers, with what docker export adds, and boots it. It reuses the packages that TestImageBoots has installed;
// the rest takes two minutes.
func TestAssembledImagesAreTheSameAndBoot(t *testing.T) {
	dir, nonce := t.TempDir(), fmt.Sprintf("assemble-%d", os.Getpid())
	hook := strings.ReplaceAll(witness, "NONCE", nonce) +
		"chroot \"$1\" apt-get install -y --no-install-recommends grub-pc-bin\n" +
		"for name in .dockerenv etc/hostname etc/hosts; do : > \"$1/$name\"; done\n" // as docker export writes them
	if err := os.WriteFile(filepath.Join(dir, "hook.sh"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	call := func(cmd *exec.Cmd) {
		t.Helper()
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
		began := time.Now()
		out, err := cmd.CombinedOutput()
		t.Logf("%q: %s\n%s", cmd.Args[1:], time.Since(began).Round(time.Second), out)
		if err != nil {
			t.Fatal(err)
		}
	}
	call(vmdebootstrap(t, "--tarball=root.tar", "--export=oci-archive:image.tar", "--export-compression=zstd:1",
		"--customize=./hook.sh", "--distribution=stable", "--root-password=x", "--verbose"))
	console := filepath.Join(dir, "dev", "console") // which docker export writes as well
	if err := errors.Join(os.Mkdir(filepath.Dir(console), 0o755), os.WriteFile(console, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "tar", "--append", "--file", filepath.Join(dir, "root.tar"), "--directory", dir, "dev/console")
	for source, image := range map[string]string{"root.tar": "tar.img", "oci-archive:image.tar": "oci.img"} {
		call(withoutNamespaces(t, vmdebootstrap(t, "assemble", "--from", source, "--image", image, "--boot=grub",
			"--serial-console", "--free=100MB")))
		checkPartitions(t, filepath.Join(dir, image))
	}
	diskimagetest.Run(t, "cmp", filepath.Join(dir, "tar.img"), filepath.Join(dir, "oci.img"))
	shown := bootGrub(t, filepath.Join(dir, "oci.img"), nonce, diskimagetest.BootOptions{Firmware: diskimagetest.BIOS})
	wantOnConsole(t, shown, "witness "+nonce+" .*"+firstBoot+"host=localhost container=none ")
}
