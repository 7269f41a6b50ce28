// SPDX-License-Identifier: Apache-2.0

package pkgdetails

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestMain is also the program pkgdetails, under that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == Name {
		if err := Run(os.Args[1:], os.Getenv("DEBOOTSTRAP_CHECKSUM_FIELD"), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const packagesFile = `Package: a
Version: 1:2.0
Architecture: amd64
Depends: b (>= 1) | c, gone, d:any
Filename: pool/a.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

Package: b
Version: 1
Architecture: all
Pre-Depends: e
Filename: pool/b.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

Package: c
Version: 1
Architecture: all
Filename: pool/c.deb
SHA256: 00
Size: 4

Package: d
Version: 3
Architecture: amd64
Depends: a
Filename: pool/d.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

`

// releaseFile has checksums of some files.
const releaseFile = `Suite: sid
MD5Sum:
 11 1 main/x
 12 2 main/x.gz
SHA256:
 21 1 main/x
 22  2 main/x.gz
 23 3 contrib/main/x
 24 4 main/xx
Other: main/x
SHA256X:
 31 1 main/x
`

// more is a second component.
const more = `Package: e
Version: 1
Architecture: amd64
Depends: f, usrmerge
Filename: pool/e.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

Package: f
Version: 1
Architecture: amd64
Filename: pool/f.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

Package: usrmerge
Version: 1
Architecture: amd64
Filename: pool/u.deb
SHA256: dae45e9c4c5641b0e8a58b6c3f0de0dd946b9ac47502cc45ef451f3119ebacd7
Size: 4

`

// extraction defines extracted, which is extract with its messages in a fixed order. In the place of dpkg-deb and tar
// there is a program that fails for c.deb.
const extraction = `printf '%s\n' "a a.deb" "c c.deb" "d var/d_1_all.deb" >"$TARGET/debootstrap/debpaths"
	extract_deb_data () { echo "$PWD: data of $1"; [ "$1" != ./c.deb ] || error 1 FILEEXIST "no"; }
	EXTRACT_DEB_TAR_OPTIONS=" -k"
	extracted () { (extract "$@" && echo done) 2>&1 4>&1 | sort | sed "s/^E: .*/E:/"; }
	`

// TestFunctionsAreThoseOfDebootstrap compares the functions with the ones in whose place they are.
func TestFunctionsAreThoseOfDebootstrap(t *testing.T) {
	t.Parallel()
	own := diskimagetest.File(t, FunctionsPath)
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	changed, replaced := Functions(string(text))
	if want := []string{"smallyes", "apt_dest", "download_debs", "resolve_deps", "get_release_checksum",
		"extract"}; !slices.Equal(replaced, want) {
		t.Fatalf("replaced %q, want %q", replaced, want)
	}
	dir := t.TempDir()
	ours := filepath.Join(dir, "functions")
	extract := filepath.Join(dir, Extract)
	changed = strings.ReplaceAll(changed, ExtractPath, extract)
	const fake = "#!/bin/sh\ncd \"$1\" && shift\nfor p; do\necho \"$PWD: data of ./$p\"\n" +
		"[ \"$p\" != c.deb ] || exit 1\ndone\n"
	if err := os.WriteFile(extract, []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ours, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, Name)); err != nil {
		t.Fatal(err)
	}
	const lists = "/var/lib/apt/lists/mirror_debian_dists_sid_"
	for name, script := range map[string]string{
		"yes":     `smallyes | head -n 5000 | sha256sum; smallyes '' | head -c 70000 | sha256sum`,
		"the deb": `apt_dest deb a 1:2:3~x amd64 http://m/debian pool/a.deb`,
		"an index": `apt_dest pkg sid main amd64 http://mirror:80/a/b dists/sid/main/binary-amd64/Packages
			apt_dest pkg sid main amd64 mirror/a://b dists/sid; apt_dest pkg sid main amd64 ://x y`,
		"a release":    `apt_dest rel sid https://mirror/debian/ dists/sid/InRelease; apt_dest rel sid file:///srv/x y`,
		"dependencies": `for p in $(resolve_deps a c); do echo $p; done`,
		"dependencies, some absent": `EXCLUDE_DEPENDENCY="usrmerge x"
			for p in $(resolve_deps "a gone" gone); do echo $p; done`,
		"checksum": `for p in main/x.gz main/x main/xx y; do get_release_checksum "$TARGET/Release" "$p"; done
			DEBOOTSTRAP_CHECKSUM_FIELD=MD5SUM; get_release_checksum "$TARGET/Release" main/x`,
		"extraction":                    extraction + `extracted a d gone`,
		"extraction that fails":         extraction + `extracted a c`,
		"extraction by another program": extraction + `EXTRACTOR_OVERRIDE=ar; extracted a d`,
		"extraction over files":         extraction + `EXTRACT_DEB_TAR_OPTIONS=; extracted d a`,
		"none":                          `for p in $(resolve_deps); do echo $p; done`,
		"downloads":                     `download_debs http://mirror/debian "$index" a b d gone`,
		"a damaged one":                 `download_debs http://mirror/debian "$index" a c d`,
		"one that is not there": `rm "$TARGET/var/cache/apt/archives/b_1_all.deb"
			download_debs http://mirror/debian "$index" a b`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(functions, program string) string {
				target := t.TempDir()
				for name, text := range map[string]string{
					lists + "main_binary-amd64_Packages":          packagesFile,
					lists + "contrib_binary-amd64_Packages":       more,
					"/var/cache/apt/archives/a_1%3a2.0_amd64.deb": "deb\n", "/var/cache/apt/archives/b_1_all.deb": "deb\n",
					"/var/cache/apt/archives/c_1_all.deb": "bad\n", "/var/cache/apt/archives/d_3_amd64.deb": "deb\n",
					"/debootstrap/debpaths": "", "/Release": releaseFile,
				} {
					if err := os.MkdirAll(filepath.Dir(target+name), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(target+name, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				// What debootstrap itself sets. Without a network, a download is one that fails.
				cmd := exec.Command("sh", "-c", `set -e; . "$1"
					if [ "$2" ]; then PKGDETAILS="$2"; fi # the functions have chosen debootstrap's perl script
					just_get () { echo "get $1" >&4; return 1; }
					MIRRORS=http://mirror/debian; SUITE=sid; EXTRA_SUITES=; ARCH=amd64; ARCH_ALL_SUPPORTED=0
					COMPONENTS="main contrib"; USE_COMPONENTS="main|contrib"; DLDEST=apt_dest; SHA_SIZE=256; CACHE_DIR=
					APTSTATE=/var/lib/apt; USE_DEBIANINSTALLER_INTERACTION=; dloaddebs=0; EXCLUDE_DEPENDENCY=
					index="$TARGET`+lists+`main_binary-amd64_Packages"
					exec 4>&1 5>&1
					`+script+`
					cat "$TARGET"/debootstrap/*`, "sh", functions, program)
				cmd.Env = append(os.Environ(), "TARGET="+target, "DEBOOTSTRAP_CHECKSUM_FIELD=SHA256", "LANG=C", "LC_ALL=C")
				out, err := cmd.CombinedOutput()
				return fmt.Sprintf("%s%v\n", strings.ReplaceAll(string(out), target, "TARGET"), err)
			}
			if got, want := run(ours, filepath.Join(dir, Name)), run(own, ""); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			} else if strings.Contains(want, "not found") {
				t.Errorf("debootstrap: %s", want)
			}
		})
	}
}

func TestFunctionsThatAreNotKnownStay(t *testing.T) {
	t.Parallel()
	const text = "smallyes() {\n\techo no\n}\nget () {\n\ttrue\n}\n"
	if changed, replaced := Functions(text); changed != text || len(replaced) > 0 {
		t.Errorf("replaced %q: %s", replaced, changed)
	}
}
