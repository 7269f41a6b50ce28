// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Each target reads untrusted input. It must not panic or take too long, and what it accepts must keep the promises of
// its documentation. `make fuzz` runs all targets; their seeds are normal tests.

const seedRelease = "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 06 Sep 2025 09:49:36 UTC\n" +
	"Valid-Until: Sat, 13 Sep 2025 09:49:36 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main\nSHA256:\n" +
	" e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/binary-amd64/Packages\n"

func FuzzRelease(f *testing.F) {
	for _, seed := range []string{seedRelease, "", "SHA256:\n a b c\n", "Date: \n",
		strings.ReplaceAll(seedRelease, "trixie", "../x")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRelease(data)
		if err != nil {
			return
		}
		for path, file := range r.Files {
			if !validDigest(file.SHA256) || file.Size < 0 || path == "" {
				t.Errorf("accepted %q: %+v", path, file)
			}
		}
		if strings.Contains(r.Codename, "..") || strings.ContainsAny(r.Codename, "\n \x00") {
			t.Errorf("accepted the codename %q", r.Codename)
		}
	})
}

func FuzzInRelease(f *testing.F) {
	repo := archivetest.NewRepository(f)
	good, _ := repo.Get("dists/trixie/InRelease")
	keys := repo.Keyring()
	for _, seed := range [][]byte{good, []byte(clearsignPanic), nil, append([]byte("- x\n"), good...),
		bytes.Replace(good, []byte("\n\n"), []byte("\n"), 1)} {
		f.Add(seed)
	}
	begin := []byte("Origin: Debian")
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := verifyInline("u", data, keys, true)
		if err == nil && !bytes.HasPrefix(text, begin) {
			t.Errorf("accepted %q", text)
		}
	})
}

func FuzzDetachedSignature(f *testing.F) {
	repo := archivetest.NewRepository(f)
	repo.Configure(archivetest.Options{Detached: true})
	good, _ := repo.Get("dists/trixie/Release.gpg")
	text, _ := repo.Get("dists/trixie/Release")
	keys := repo.Keyring()
	for _, seed := range [][]byte{good, nil, []byte("-----BEGIN PGP SIGNATURE-----"), {0x88, 0x75, 0x04},
		{0xc2, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		f.Add(text, seed)
	}
	f.Fuzz(func(t *testing.T, data, signature []byte) {
		if _, err := verifyDetached("u", data, signature, keys); err == nil && !bytes.Equal(data, text) {
			t.Errorf("accepted %q", data)
		}
	})
}

func FuzzKeyring(f *testing.F) {
	data, err := keyrings.ReadFile("keyrings/debian-archive-keyring.pgp")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{data[:4096], nil, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n"),
		{0x99, 0xff, 0xff}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ReadKeyring(bytes.NewReader(data))
		if err == nil && (len(keys) == 0 || slices.ContainsFunc(keys, weak)) {
			t.Error("accepted a keyring that proves nothing")
		}
	})
}

func FuzzPackages(f *testing.F) {
	for _, seed := range []string{smallIndex, "Package: a\nVersion: ../../x\n\n",
		"Package: a\nVersion: 1\nFilename: /etc/passwd\n", "Package: a\nVersion: 1\nSize: -1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ReadIndex(bytes.NewReader(data), "http://mirror.example")
		if err != nil {
			return
		}
		for p := range x.All() {
			if name := p.File(); !fs.ValidPath(name) || strings.Contains(name, "/") {
				t.Errorf("accepted a package whose file is %q", name)
			}
			if p.Filename != "" && !fs.ValidPath(p.Filename) {
				t.Errorf("accepted a package with the path %q", p.Filename)
			}
		}
		// Closure ends whatever is in an index.
		_, _ = x.Closure(x.Names("required"), ClosureOptions{Essential: true, Recommends: true})
	})
}

func FuzzHostMirror(f *testing.F) {
	const os = "ID=debian\nVERSION_CODENAME=trixie\n"
	f.Add([]byte(os), []byte(
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian trixie main\n"),
		[]byte(""), []byte(""))
	f.Add([]byte(os), []byte(""),
		[]byte("Types: deb\nURIs: mirror+file:/etc/apt/mirrors\nSuites: trixie\nComponents: main\n"),
		[]byte("http://ftp.debian.org/debian\tpriority:1\n"))
	f.Add([]byte("ID=\"debian\""), []byte("deb [ http://x/debian trixie main\ndeb [] / \n"),
		[]byte("Types: deb\nURIs: http://%zz ://\n"), []byte("\x00"))
	f.Fuzz(func(t *testing.T, release, list, sources, mirrors []byte) {
		files := fstest.MapFS{
			"etc/os-release": {Data: release}, "etc/apt/sources.list": {Data: list},
			"etc/apt/sources.list.d/debian.sources": {Data: sources}, "etc/apt/mirrors": {Data: mirrors},
		}
		mirror, ok := chooseMirror(files)
		if !ok {
			return
		}
		u, err := url.Parse(mirror)
		if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) ||
			u.Scheme != "file" && u.Host == "" {
			t.Errorf("chose %q (%v)", mirror, err)
		}
	})
}
