// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// examplePackages lists the packages that contrib/examples installs: the archive must have them.
const examplePackages = "task-xfce-desktop task-ssh-server cups plymouth zerofree memtest86+ open-vm-tools live-boot " +
	"live-config live-config-systemd dosfstools u-boot-menu openssh-server"

// tarballHook calls every function of the library for hooks. It leaves a daemon running and a file system
// mounted, which end with its container.
const tarballHook = `#!/bin/sh
set -eu
test -z "$2"
test -e "$1/usr/bin/hello"
echo "hook $GREETING" >> "$1/etc/order"
rootdir=$1
. /usr/share/vmdebootstrap/common/customise.lib
trap cleanup 0
export_env
mount_proc
mount_support
disable_daemons
prepare_apt_source "$MIRROR" trixie
chroot "$rootdir" apt-get -q -y install time
names="$TASK_PACKAGES $EXTRA_PACKAGES EXAMPLES"
chroot "$rootdir" apt-cache policy $names > /tmp/policy
for package in $names; do
	grep -q "^$package:" /tmp/policy
done
test -n "$BASE_OPTS"
replace_apt_source
remove_daemon_block
blacklist_qemu_bochs
mount -t tmpfs none "$1/mnt"
touch "$1/mnt/mounted"
sleep 1000 &
`

// TestOptionsReachTheTarball builds one tarball with most options that do not concern the disk, and checks
// the effect of each.
func TestOptionsReachTheTarball(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	deb, err := archivetest.Deb{Name: "site-config", Architecture: "all", Depends: "hello", Files: []archivetest.File{
		{Name: "etc/site", Content: "ours\n"},
	}}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	write("site-config.deb", 0o644, deb)
	write("password", 0o600, []byte("geheim\n"))
	write("early.sh", 0o755,
		[]byte("#!/bin/sh\nset -e\ntest ! -e \"$1/usr/sbin/logrotate\"\necho early > \"$1/etc/order\"\n"))
	write("hook.sh", 0o755, []byte(strings.ReplaceAll(tarballHook, "EXAMPLES", examplePackages)))
	write("motd", 0o640, []byte("welcome\n"))
	mirror, ok := archive.HostMirror(os.DirFS("/"))
	if !ok {
		t.Fatal("this machine has no Debian mirror in its apt sources")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--tarball=root.tar.gz", "--distribution=trixie", "--debootstrapopts=variant=minbase include=less",
		"--debootstrapopts", "components=main,contrib",
		"--no-kernel", "--package=logrotate,libcap2-bin", "--package=acl", "--custom-package=site-config.deb", "--sudo",
		"--user=alice/gehe/im", "--user=bob", "--root-password-file=password", "--hostname=elsewhere", "--pkglist",
		"--configure-apt", "--apt-mirror=http://mirror.example/debian", "--hook=essential:early.sh",
		"--run=echo run >> /etc/order", "--copy-in=motd:/etc/", "--customize=./hook.sh",
		"--run=ping -c 1 mirror.example || true",
		"--run=setfacl -m u:alice:r /etc/motd && setcap cap_net_raw+ep /usr/bin/less",
		"--owner=" + me.Username, "--output=messages", "--verbose", "--log=build.log", "--log-level=debug",
	}
	cmd := vmdebootstrap(t, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GREETING=hello", "MIRROR="+mirror)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}

	headers, files := readTarball(t, filepath.Join(dir, "root.tar.gz"))
	matches := func(name, pattern string) {
		t.Helper()
		if !regexp.MustCompile("(?m)" + pattern).MatchString(files[name]) {
			t.Errorf("%s has nothing like %q:\n%.600s", name, pattern, files[name])
		}
	}
	lacks := func(name, pattern string) {
		t.Helper()
		if found := regexp.MustCompile("(?m)" + pattern).FindString(files[name]); found != "" {
			t.Errorf("%s has %q", name, found)
		}
	}
	status := "var/lib/dpkg/status"
	for _, name := range []string{"less", "logrotate", "site-config", "hello", "sudo", "acpid", "systemd-resolved",
		"time"} {
		matches(status, "^Package: "+name+"$")
	}
	lacks(status, "^Package: linux-image")
	lacks(status, "^Status: .* (half|unpacked)")
	matches("etc/shadow", `^alice:\$y\$`)
	matches("etc/shadow", `^bob::`)
	matches("etc/shadow", `^root:\$y\$`)
	matches("etc/passwd", `^alice:x:1000:1000:alice`)
	matches("etc/group", `^sudo:x:27:alice,bob$`)
	matches("etc/hostname", `^elsewhere\n\z`)
	matches("etc/hosts", `^127\.0\.0\.1\s+localhost elsewhere$`)
	matches("etc/apt/sources.list.d/base.sources", `^URIs: http://mirror\.example/debian$`)
	matches("etc/apt/sources.list.d/base.sources", `^Suites: trixie trixie-updates$`)
	matches("etc/apt/sources.list.d/base.sources", `^Components: main contrib$`)
	matches("etc/modprobe.d/qemu-blacklist.conf", `^blacklist bochs-drm$`)
	matches("etc/site", "ours")
	matches("etc/order", `\Aearly\nrun\nhook hello\n\z`)
	matches("etc/motd", `\Awelcome\n\z`)
	matches("etc/fstab", `^/dev/sda1 / ext4 `)
	matches("etc/systemd/network/99-dhcp.network", `^DHCP=yes$`)

	// The members of the archive.
	root := headers["./"]
	if root == nil || root.Mode != 0o755 || root.Uid != 0 {
		t.Errorf("the root is %+v", root)
	}
	if h := headers["./etc/motd"]; h == nil || h.Mode != 0o640 || h.Uid != 0 || h.Gid != 0 {
		t.Errorf("/etc/motd is %+v", h)
	}
	for name, h := range headers {
		switch {
		case h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock:
			t.Errorf("%s is a device", name)
		case strings.HasPrefix(name, "./proc/") && name != "./proc/",
			strings.HasPrefix(name, "./var/cache/apt/archives/") &&
				strings.HasSuffix(name, ".deb"):
			t.Errorf("%s was left behind", name)
		}
	}
	if h := headers["./etc/motd"]; h == nil || h.PAXRecords["SCHILY.xattr.system.posix_acl_access"] == "" {
		t.Errorf("the access control list of /etc/motd is lost: %+v", h)
	}
	// capabilities(7): VFS_CAP_REVISION_2, which is not bound to a user namespace, with the effective bit.
	if h := headers["./usr/bin/less"]; h == nil || !strings.HasPrefix(h.PAXRecords["SCHILY.xattr.security.capability"],
		"\x01\x00\x00\x02") {
		t.Errorf("the capabilities of less are lost: %+v", h)
	}
	for _, name := range []string{"./mnt/mounted", "./usr/sbin/policy-rc.d"} {
		if headers[name] != nil {
			t.Errorf("%s was left behind by the hook or by the build", name)
		}
	}

	// The other outputs.
	list := strings.Split(strings.TrimSpace(readFile(t, filepath.Join(dir, "dpkg.list"))), "\n")
	if len(list) < 90 || list[0] != "acl" || !slices.IsSorted(list) {
		t.Errorf("dpkg.list begins with %q and has %d lines", list[0], len(list))
	}
	if text := readFile(t, filepath.Join(dir, "messages")); !strings.Contains(text, "\nset the host name to ") {
		t.Errorf("--output has %q", text)
	}
	if stdout.Len() > 0 {
		t.Errorf("standard output has %q", stdout.String())
	}
	log := readFile(t, filepath.Join(dir, "build.log"))
	for what, text := range map[string]string{"the log": log,
		"the messages":   readFile(t, filepath.Join(dir, "messages")),
		"standard error": stderr.String()} {
		for _, secret := range []string{"geheim", "gehe/im"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has a password", what)
			}
		}
	}
	if !strings.Contains(log, "DEBUG") || !strings.Contains(log, "Setting up site-config") {
		t.Error("the log lacks the output of the build's programs")
	}
}

// readTarball returns the headers of a compressed archive by name, and the contents of its small files by name without
// "./" in front.
func readTarball(t *testing.T, name string) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	headers, files := map[string]*tar.Header{}, map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, files
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
		if h.Typeflag == tar.TypeReg && h.Size < 1<<20 {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(fmt.Errorf("%s: %w", h.Name, err))
			}
			files[strings.TrimPrefix(h.Name, "./")] = string(text)
		}
	}
}
