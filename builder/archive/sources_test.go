// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"testing"
	"testing/fstest"
)

const osReleaseBookworm = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
`

func TestHostMirrorFindsOnlyDebiansArchive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		osRelease string // osReleaseBookworm if empty
		files     map[string]string
		want      string // "" for none
	}{
		{name: "container image", files: map[string]string{
			"sources.list.d/debian.sources": `Types: deb
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
# http://snapshot.example.org/archive/debian-security/20250520T000000Z
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
			"sources.list.d/google-cloud-sdk.list": "deb https://packages.example.com/apt cloud-sdk-bookworm main\n",
			"sources.list.d/nodesource.sources":    "Types: deb\nURIs: https://deb.example.com/node_20.x\nSuites: nodistro\nComponents: main\nSigned-By: /usr/share/keyrings/nodesource.gpg\n",
		}, want: "http://mirror.example.org/debian"},
		{name: "installer", files: map[string]string{
			"sources.list": `#deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64 NETINST]/ bookworm main non-free-firmware
deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_]/ bookworm main

deb http://security.example.org/debian-security bookworm-security main non-free-firmware
deb-src http://src.example.org/debian/ bookworm main
deb http://ftp.de.example.org/debian/ bookworm main non-free-firmware # the nearest
deb http://ftp.de.example.org/debian/ bookworm-updates main non-free-firmware
`}, want: "http://ftp.de.example.org/debian"},
		{name: "cloud image", files: map[string]string{
			"mirrors/debian.list":          "# made by cloud-init\nhttps://cdn.example.org/debian\tpriority:1\nhttps://other.example.org/debian\n",
			"mirrors/debian-security.list": "https://cdn.example.org/debian-security\n",
			"sources.list":                 "# See /etc/apt/sources.list.d/debian.sources\n",
			"sources.list.d/debian.sources": `Types: deb deb-src
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: bookworm bookworm-updates bookworm-backports
Components: main

Types: deb deb-src
URIs: mirror+file:///etc/apt/mirrors/debian-security.list
Suites: bookworm-security
Components: main
`}, want: "https://cdn.example.org/debian"},
		{name: "third parties that look alike", files: map[string]string{
			"sources.list": `deb https://dl.example.org/wine-builds/debian/ bookworm main
deb http://mirror.example.net/pub/debian bookworm main contrib
`,
			"sources.list.d/chrome.list":    "deb [arch=amd64] https://dl.example.com/linux/chrome/deb/ stable main\n",
			"sources.list.d/docker.list":    "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.example.com/debian bookworm stable main\n",
			"sources.list.d/pgdg.list":      "deb https://apt.example.org/debian bookworm-pgdg main\n",
			"sources.list.d/zabbix.list":    "deb https://repo.example.com/zabbix/6.4/debian bookworm main\n",
			"sources.list.d/winehq.sources": "Types: deb\nURIs: https://dl.example.org/debian\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/winehq-archive.key\n",
			"sources.list.d/inline.sources": "Types: deb\nURIs: https://key.example.org/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBBHDbhRml9ORg1WV5CvzKY\n -----END PGP PUBLIC KEY BLOCK-----\n",
		}, want: "http://mirror.example.net/pub/debian"},
		{name: "only third parties", files: map[string]string{
			"sources.list": "deb https://dl.example.org/wine-builds/debian/ bookworm main\ndeb http://security.example.org/debian-security bookworm-security main\n",
		}},
		{name: "Debian's keyring outweighs order", files: map[string]string{
			"sources.list.d/a.list": "deb http://vendor.example.com/debian/ bookworm main\n",
			"sources.list.d/b.list": "deb [ signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://proxy.example.com/artifactory/debian-remote bookworm main\n",
		}, want: "https://proxy.example.com/artifactory/debian-remote"},
		{name: "updates only", files: map[string]string{
			"sources.list": "deb http://a.example.org/debian bookworm-updates main\n",
		}, want: "http://a.example.org/debian"},
		{name: "disabled", files: map[string]string{
			"sources.list.d/debian.sources": "Enabled: no\nTypes: deb\nURIs: http://a.example.org/debian\nSuites: bookworm\nComponents: main\n",
		}},
		{name: "sources without packages", files: map[string]string{
			"sources.list.d/debian.sources": "Types: deb-src\nURIs: http://a.example.org/debian\nSuites: bookworm\nComponents: main\n",
		}},
		{name: "without main", files: map[string]string{
			"sources.list": "deb http://a.example.org/debian bookworm contrib non-free\n",
		}},
		{name: "testing by alias", files: map[string]string{
			"sources.list": "deb\thttp://a.example.org/debian\ttesting\tmain\n",
		}, want: "http://a.example.org/debian"},
		{name: "a release of the future", osRelease: "ID=debian\nVERSION_CODENAME=zurg\n", files: map[string]string{
			"sources.list": "deb http://a.example.org/debian zurg main\n",
		}, want: "http://a.example.org/debian"},
		{name: "local mirror", files: map[string]string{
			"sources.list": "deb [trusted=yes] file:///srv/mirror/debian bookworm main\n",
		}, want: "file:///srv/mirror/debian"},
		{name: "apt proxy", files: map[string]string{
			"sources.list": "deb http://127.0.0.1:3142/ftp.debian.org/debian sid main\n",
		}, want: "http://127.0.0.1:3142/ftp.debian.org/debian"},
		{name: "damaged files beside good ones", files: map[string]string{
			"sources.list":             "deb [arch=amd64 http://x.example.org/debian bookworm main\ndeb\ndeb http://y\n",
			"sources.list.d/a.sources": "no colon here\n",
			"sources.list.d/b.list":    "deb http://b.example.org/debian bookworm main\n",
			"sources.list.d/c.list~":   "deb http://c.example.org/debian bookworm main\n",
		}, want: "http://b.example.org/debian"},
		{name: "Ubuntu", osRelease: "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", files: map[string]string{
			"sources.list": "deb http://archive.example.com/ubuntu noble main\ndeb http://a.example.org/debian bookworm main\n",
		}},
		{name: "no sources"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{}
			if tt.osRelease == "" {
				tt.osRelease = osReleaseBookworm
			}
			files["etc/os-release"] = &fstest.MapFile{Data: []byte(tt.osRelease)}
			for name, text := range tt.files {
				files["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, ok := HostMirror(files)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

func TestHostPocketsAreThoseOfDebian(t *testing.T) {
	t.Parallel()
	const mirror = "http://a.example/debian"
	for name, tt := range map[string]struct {
		sources, mirror string
		updates         bool
		security        string
	}{
		"container image": {"deb http://a.example/debian trixie main\ndeb http://a.example/debian trixie-updates main\n" +
			"deb http://a.example/debian-security trixie-security main\n", mirror, true,
			"http://a.example/debian-security"},
		"old release": {"deb http://a.example/debian-security/ buster/updates main contrib\n", mirror, false,
			"http://a.example/debian-security"},
		"a proxy's path": {"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/r/sec " +
			"stable-security main\n", mirror, false, "http://a.example/r/sec"},
		"of others": {"deb http://b.example/debian trixie-updates main\ndeb http://b.example/apt trixie-security main\n" +
			"deb [signed-by=/k.gpg] http://b.example/debian-security trixie-security main\n" +
			"deb http://b.example/debian-security trixie main\ndeb http://b.example/debian-security noble-security main\n",
			mirror, false, ""},
		"no mirror": {"deb http://a.example/debian-security trixie-security main\n", "", false, ""},
	} {
		files := fstest.MapFS{"etc/apt/sources.list": {Data: []byte(tt.sources)}}
		if updates, security := HostPockets(files, tt.mirror); updates != tt.updates || security != tt.security {
			t.Errorf("%s: got %t, %q", name, updates, security)
		}
	}
}

func TestHostMirrorReadsUsrLibOSRelease(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"usr/lib/os-release":   {Data: []byte("ID='debian'\n")},
		"etc/apt/sources.list": {Data: []byte("deb http://a.example.org/debian stable main\n")},
	}
	if got, _ := HostMirror(files); got != "http://a.example.org/debian" {
		t.Errorf("got %q", got)
	}
	delete(files, "usr/lib/os-release")
	if got, ok := HostMirror(files); ok {
		t.Errorf("a host without os-release: got %q", got)
	}
}
