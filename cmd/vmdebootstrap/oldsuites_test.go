// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestOldReleasesGetTheirOwnFiles makes suites with the names of releases before bullseye, which no mirror
// has any more, from bullseye's packages. The build treats them like the real ones, with programs that still
// run.
func TestOldReleasesGetTheirOwnFiles(t *testing.T) {
	repo := archivetest.NewRepository(t, "wheezy", "jessie", "stretch")
	mirror, ok := archive.HostMirror(os.DirFS("/"))
	if !ok {
		t.Fatal("this machine has no Debian mirror in its apt sources")
	}
	repo.Forward(mirror)
	stanzas, scripts := bullseye(t, mirror, "systemd-sysv", "udev", "ifupdown", "acpid", "adduser")
	for _, suite := range []string{"wheezy", "jessie", "stretch"} {
		repo.Import(suite, "main", stanzas)
	}
	repo.AddTo("wheezy", archivetest.Deb{Name: "sysvinit",
		Files: []archivetest.File{{Name: "etc/inittab", Content: "id:2:initdefault:\n"}}})
	keyring := repo.KeyringFile()
	debian, err := os.OpenFile(keyring, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range archive.DefaultKeyring() { // the tools come from a current release
		err = errors.Join(err, key.Serialize(debian))
	}
	if err = errors.Join(err, debian.Close()); err != nil {
		t.Fatal(err)
	}

	const networkd = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"
	list := func(suite string) string {
		text := ""
		for _, archive := range []string{
			"http://mirror.example/debian " + suite, "http://mirror.example/debian " + suite + "-updates",
			"http://security.debian.org/debian-security " + suite + "/updates",
		} {
			text += "deb " + archive + " main\n#deb-src " + archive + " main\n"
		}
		return text
	}
	for _, tt := range []struct {
		suite   string
		options []string
		want    map[string]string // "" means that the file must not exist, "-> TARGET" a symbolic link
	}{
		{
			"wheezy",
			[]string{"--debootstrap-scripts", scripts, "--roottype=ext3", "--package=sysvinit,ifupdown",
				"--serial-console", "--serial-console-command=/sbin/getty -L ttyS0 9600 vt100", "--enable-dhcp"},
			map[string]string{
				"etc/inittab":                              "id:2:initdefault:\n\nS0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n",
				"etc/own-script":                           "ours\n",
				"etc/network/interfaces":                   "source /etc/network/interfaces.d/*\n",
				"etc/network/interfaces.d/setup":           "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
				"etc/systemd/network/99-dhcp.network":      "",
				"etc/udev/rules.d/80-net-setup-link.rules": "",
			},
		},
		{
			"jessie",
			[]string{"--package=systemd-sysv,ifupdown"},
			map[string]string{
				"etc/network/interfaces":         "source-directory /etc/network/interfaces.d\n",
				"etc/network/interfaces.d/setup": "auto lo\niface lo inet loopback\n",

				"etc/systemd/network/99-dhcp.network":                                 networkd,
				"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "-> /lib/systemd/system/systemd-networkd.service",
				"etc/systemd/system/multi-user.target.wants/systemd-resolved.service": "",
			},
		},
		{
			"stretch",
			[]string{"--package=systemd-sysv"},
			map[string]string{
				"etc/systemd/network/99-dhcp.network":                                 networkd,
				"etc/systemd/system/multi-user.target.wants/systemd-resolved.service": "-> /lib/systemd/system/systemd-resolved.service",
				"etc/resolv.conf":                "-> /run/systemd/resolve/resolv.conf",
				"etc/network/interfaces.d/setup": "",
			},
		},
		{
			"stretch",
			[]string{"--package=systemd-sysv,ifupdown", "--no-systemd-networkd"},
			map[string]string{
				"etc/network/interfaces":              "source-directory /etc/network/interfaces.d\n",
				"etc/network/interfaces.d/setup":      "auto lo\niface lo inet loopback\n",
				"etc/systemd/network/99-dhcp.network": "",
			},
		},
	} {
		t.Run(tt.suite+" "+strings.Join(tt.options, " "), func(t *testing.T) {
			dir := t.TempDir()
			args := append([]string{
				"--distribution", tt.suite, "--mirror", repo.URL(), "--debootstrapopts",
				"variant=minbase keyring=" + keyring, "--no-kernel", "--tarball", "root.tar", "--configure-apt",
				"--apt-mirror", "http://mirror.example/debian/", "--user", "alice/geheim", "--hostname", "old",
			}, tt.options...)
			cmd := vmdebootstrap(t, args...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			files := tarFiles(t, filepath.Join(dir, "root.tar"))
			tt.want["etc/apt/sources.list.d/base.list"] = list(tt.suite)
			tt.want["etc/apt/sources.list"] = ""
			tt.want["etc/hostname"] = "old\n"
			for name, want := range tt.want {
				if got := files[name]; got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if !strings.Contains(files["etc/shadow"], "alice:$") || strings.Contains(files["etc/shadow"], "geheim") {
				t.Errorf("alice has no hashed password")
			}
		})
	}
}

// bullseye returns the stanzas of the packages that a small system needs and of the named ones, and a directory with
// debootstrap's scripts, where the one for wheezy adds a file to the system.
func bullseye(t *testing.T, mirror string, names ...string) (stanzas, scripts string) {
	t.Helper()
	mirror = strings.TrimRight(mirror, "/") + "/"
	stanzas, index := smallSystem(t, mirror, "bullseye", names...)
	dir := t.TempDir()
	deb := filepath.Join(dir, "debootstrap.deb")
	if err := os.WriteFile(deb, download(t, mirror+index.Lookup("debootstrap").Filename), 0o644); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, "dpkg-deb", "--extract", deb, dir)
	scripts = filepath.Join(dir, "usr/share/debootstrap/scripts")
	script := []byte(". /usr/share/debootstrap/scripts/stretch\nmkdir -p \"$TARGET/etc\"\necho ours > \"$TARGET/etc/own-script\"\n")
	if err := errors.Join(os.Remove(filepath.Join(scripts, "wheezy")),
		os.WriteFile(filepath.Join(scripts, "wheezy"), script, 0o644)); err != nil {
		t.Fatal(err)
	}
	return stanzas, scripts
}

// smallSystem returns the stanzas of the packages of a suite that a small system needs and of the named ones, and the
// index of all. mirror ends with a slash.
func smallSystem(t *testing.T, mirror, suite string, names ...string) (stanzas string, index *archive.Index) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(download(t, mirror+"dists/"+suite+"/main/binary-amd64/Packages.gz")))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	index, err = archive.ReadIndex(bytes.NewReader(text), mirror)
	if err != nil {
		t.Fatal(err)
	}
	packages, err := index.Closure(append(append(index.Names("required"), "apt"), names...),
		archive.ClosureOptions{Essential: true})
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, p := range packages {
		wanted[p.Name] = true
	}
	var b strings.Builder
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		line, _, _ := strings.Cut(stanza, "\n")
		if wanted[strings.TrimPrefix(line, "Package: ")] {
			b.WriteString(stanza + "\n\n")
		}
	}
	return b.String(), index
}

// download returns the content of a file of the mirror.
func download(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s (%v)", url, resp.Status, err)
	}
	return data
}

// tarFiles returns the contents of the small files in an archive by their names without ./ in front; for a
// symbolic link it is "-> TARGET".
func tarFiles(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.Typeflag == tar.TypeSymlink:
			files[strings.TrimPrefix(h.Name, "./")] = "-> " + h.Linkname
		case h.Typeflag == tar.TypeReg && h.Size < 1<<16:
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(h.Name, "./")] = string(text)
		}
	}
}
