// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// offline is a signed archive on the loopback interface with a system so small that its build takes a second: the
// programs are busybox and shell scripts. Builds use no other network.
type offline struct {
	t    *testing.T
	repo *archivetest.Repository
	dir  string // the working directory of the builds
	keys string // the keyring
}

// fakeDebootstrap makes the system. It copies a file that somebody put into the toolbox, so that tests can find it.
const fakeDebootstrap = `#!/bin/sh
set -e
while [ $# -gt 2 ]; do shift; done
cd "$1"
mkdir -p usr/bin usr/sbin usr/share etc/apt etc/pam.d etc/systemd/network usr/lib/systemd/system
mkdir -p var/lib/dpkg var/cache/apt/archives dev proc sys run tmp root
for service in networkd resolved; do
	printf '[Install]\nWantedBy=multi-user.target\n' >usr/lib/systemd/system/systemd-$service.service
done
for dir in bin sbin lib; do ln -s usr/$dir $dir; done
cp /usr/bin/busybox usr/bin/
for program in sh cat true echo; do ln -s busybox usr/bin/$program; done
for program in passwd adduser chpasswd apt-get systemctl; do
	printf '#!/bin/sh\ncat >/dev/null\n' >usr/sbin/$program
done
printf '#!/bin/sh\nread password\nread setting\necho -n "$setting$password" | busybox md5sum >/tmp/hash\nread hash rest </tmp/hash\necho -n "$setting$hash"\n' >usr/bin/perl
chmod 755 usr/sbin/* usr/bin/perl
echo 'password [success=1] pam_unix.so obscure yescrypt' >etc/pam.d/common-password
echo 'Package: base' >var/lib/dpkg/status
echo "deb $2 trixie main" >etc/apt/sources.list
wget=/usr/local/bin/wget # busybox has a wget of its own
$wget -nv -O etc/InRelease "$2/dists/trixie/InRelease"
if $wget -nv -O etc/Packages.xz "$2/dists/trixie/main/binary-amd64/Packages.xz"; then exit 1; fi
$wget -nv -O etc/Packages "$2/dists/trixie/main/binary-amd64/Packages"
[ ! -e /etc/backdoor ] || cp /etc/backdoor etc/from-toolbox
`

// newOffline starts the archive. Its busybox is the host's, which must be static.
func newOffline(t *testing.T) *offline {
	t.Helper()
	busybox, err := os.ReadFile(diskimagetest.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := elf.NewFile(bytes.NewReader(busybox))
	if err != nil {
		t.Fatal(err)
	}
	if libraries, _ := program.ImportedLibraries(); len(libraries) > 0 {
		t.Fatalf("busybox needs %q: install busybox-static", libraries)
	}
	files := []archivetest.File{{Name: "usr/bin/busybox", Mode: 0o755, Content: string(busybox)}}
	for _, name := range []string{"sh", "mkdir", "cp", "ln", "cat", "chmod"} {
		files = append(files, archivetest.File{Name: "usr/bin/" + name, Linkname: "busybox"})
	}
	repo := archivetest.NewRepository(t, "trixie", "trixie-updates", "trixie-security")
	repo.Add(archivetest.Deb{Name: "busybox", Essential: true, Priority: "required", Files: files})
	repo.Add(archivetest.Deb{Name: "debootstrap",
		Files: []archivetest.File{{Name: "usr/sbin/debootstrap", Mode: 0o755, Content: fakeDebootstrap},
			{Name: "usr/share/debootstrap/functions"},
			{Name: "usr/bin/dpkg-deb", Mode: 0o755}}}) // the build puts a program of its own in its place
	for _, name := range []string{"gpgv", "wget", "ca-certificates", "debian-archive-keyring", "xz-utils", "zstd",
		"mount", "apt", "adduser", "less", "systemd", "systemd-resolved"} {
		repo.Add(archivetest.Deb{Name: name})
	}
	return &offline{t: t, repo: repo, dir: t.TempDir(), keys: repo.KeyringFile()}
}

// machine returns a new state directory. It is cleared when the test ends, because its files belong to subordinate IDs.
func (o *offline) machine() string {
	o.t.Helper()
	state := filepath.Join(o.t.TempDir(), "state")
	o.t.Cleanup(func() {
		if out, err := vmdebootstrap(o.t, "cache", "clear", "--state-dir", state).CombinedOutput(); err != nil {
			o.t.Errorf("%v\n%s", err, out)
		}
	})
	return state
}

// command returns a build of out.tar on a machine. It does not depend on the caller's configuration.
func (o *offline) command(state string, args ...string) *exec.Cmd {
	o.t.Helper()
	cmd := vmdebootstrap(o.t, append([]string{
		"--no-default-configs", "--state-dir=" + state, "--tarball=out.tar", "--arch=amd64", "--distribution=trixie",
		"--debootstrapopts=variant=minbase keyring=" + o.keys, "--no-kernel", "--no-acpid", "--no-update-initramfs",
		"--explain-cache", "--verbose",
	}, args...)...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=")
	return cmd
}

// try builds and returns the output.
func (o *offline) try(state string, args ...string) (string, error) {
	o.t.Helper()
	out, err := o.command(state, append([]string{"--mirror=" + o.repo.URL(), "--lock-root-password"},
		args...)...).CombinedOutput()
	return string(out), err
}

// build is try for a build that must succeed.
func (o *offline) build(state string, args ...string) string {
	o.t.Helper()
	text, err := o.try(state, args...)
	if err != nil {
		o.t.Fatalf("%v\n%s", err, text)
	}
	return text
}

// has returns those of the names that are files in the last tarball, separated by blanks.
func (o *offline) has(names ...string) string {
	o.t.Helper()
	files := o.files()
	var found []string
	for _, name := range names {
		if _, ok := files[name]; ok {
			found = append(found, name)
		}
	}
	return strings.Join(found, " ")
}

// files returns the contents of the last tarball's files.
func (o *offline) files() map[string]string {
	o.t.Helper()
	f, err := os.Open(filepath.Join(o.dir, "out.tar"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			o.t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			o.t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "./")] = string(text)
	}
}

// grepTree searches the names and contents of all files below a directory for secrets, except the root file systems of
// layers.
func grepTree(t *testing.T, dir string, secrets []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil // in a root file system
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "diff" && strings.Contains(name, "/overlay/"), d.IsDir() &&
			filepath.Base(filepath.Dir(name)) == "dir":
			return fs.SkipDir // a layer of the driver overlay or vfs
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) || strings.Contains(strings.TrimPrefix(name, dir), secret) {
				t.Errorf("%s has %q", name, secret)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exists reports whether there is a file.
func exists(t *testing.T, name string) bool {
	t.Helper()
	_, err := os.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// deb returns a package with one program.
func deb(name, version, file, text string) archivetest.Deb {
	return archivetest.Deb{Name: name, Version: version,
		Files: []archivetest.File{{Name: file, Mode: 0o755, Content: text}}}
}
