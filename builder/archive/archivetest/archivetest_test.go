// SPDX-License-Identifier: Apache-2.0

package archivetest

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// save writes a file of the repository into a temporary directory.
func save(t *testing.T, r *Repository, path string) string {
	t.Helper()
	data, ok := r.Get(path)
	if !ok {
		t.Fatalf("the repository lacks %s", path)
	}
	name := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGpgvTrustsTheSignatures(t *testing.T) {
	t.Parallel()
	gpgv := diskimagetest.Tool(t, "gpgv")
	r := NewRepository(t, "wheezy")
	keyring := r.KeyringFile()
	inRelease := save(t, r, "dists/wheezy/InRelease")
	if out, err := exec.Command(gpgv, "--keyring", keyring, inRelease).CombinedOutput(); err != nil {
		t.Errorf("inline: %v: %s", err, out)
	}
	r.Configure(Options{Detached: true})
	signature, release := save(t, r, "dists/wheezy/Release.gpg"), save(t, r, "dists/wheezy/Release")
	if out, err := exec.Command(gpgv, "--keyring", keyring, signature, release).CombinedOutput(); err != nil {
		t.Errorf("detached: %v: %s", err, out)
	}
	if _, ok := r.Get("dists/wheezy/InRelease"); ok {
		t.Error("there is an InRelease, too")
	}
}

func TestDpkgDebReadsThePackages(t *testing.T) {
	t.Parallel()
	dpkg := diskimagetest.Tool(t, "dpkg-deb")
	for _, compression := range []string{".gz", ".xz", ".zst", ".none"} {
		r := NewRepository(t)
		r.Add(Deb{
			Name: "hello", Version: "1:2-3", Depends: "a, b", Compression: compression,
			Files: []File{{Name: "usr/bin/hello", Mode: 0o755, Content: "#!/bin/sh\n"},
				{Name: "usr/bin/hi", Linkname: "hello"}},
			Scripts: map[string]string{"postinst": "#!/bin/sh\n"},
		})
		deb := save(t, r, "pool/main/h/hello/hello_2-3_amd64.deb")
		out, err := exec.Command(dpkg, "--field", deb, "Package", "Version", "Depends").CombinedOutput()
		if want := "Package: hello\nVersion: 1:2-3\nDepends: a, b\n"; err != nil || string(out) != want {
			t.Errorf("%s: fields are %q, %v", compression, out, err)
		}
		out, err = exec.Command(dpkg, "--contents", deb).CombinedOutput()
		for _, want := range []string{"drwxr-xr-x 0/0", " ./usr/bin/\n", "./usr/bin/hi -> hello"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: contents lack %q: %v\n%s", compression, want, err, out)
			}
		}
		out, err = exec.Command(dpkg, "--info", deb, "postinst").CombinedOutput()
		if err != nil || string(out) != "#!/bin/sh\n" {
			t.Errorf("%s: the script is %q, %v", compression, out, err)
		}
	}
}

func TestAptInstallsFromRepository(t *testing.T) {
	t.Parallel()
	apt := diskimagetest.Tool(t, "apt-get")
	r := NewRepository(t, "stretch")
	r.Add(Deb{Name: "hello", Depends: "world (>= 1)"}, Deb{Name: "world", Architecture: "all", Version: "1:2.0-1"})
	dir := t.TempDir()
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := "deb [arch=amd64 signed-by=" + r.KeyringFile() + "] " + r.URL() + " stretch main\n"
	config := `#clear Acquire::http::Proxy;
Dir "` + dir + `/"; Dir::State "state"; Dir::State::status "` + dir + `/status"; Dir::Cache "cache";
Dir::Etc::sourcelist "` + dir + `/sources.list"; Dir::Etc::sourceparts "-";
Dir::Etc::parts "-"; Dir::Etc::main "/dev/null";
APT::Architecture "amd64"; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::http::Proxy "DIRECT";
`
	for name, text := range map[string]string{"sources.list": source, "apt.conf": config, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"update", "-o", "APT::Update::Error-Mode=any"},
		{"install", "--download-only", "-y", "hello"}} {
		cmd := exec.Command(apt, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "APT_CONFIG=" + filepath.Join(dir, "apt.conf")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("apt-get %v: %v\n%s", args, err, out)
		}
	}
	for _, name := range []string{"hello_1.0_amd64.deb", "world_1%3a2.0-1_all.deb"} {
		if _, err := os.Stat(filepath.Join(dir, "cache/archives", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestSuitesHaveTheirOwnPackages(t *testing.T) {
	t.Parallel()
	r := NewRepository(t, "jessie", "trixie")
	r.Configure(Options{Compressions: []string{""}})
	r.AddTo("jessie", Deb{Name: "old"})
	r.Add(Deb{Name: "both"})
	r.Alias("stable", "trixie")
	for suite, want := range map[string]string{"jessie": "old both", "trixie": "both", "stable": "both"} {
		data, ok := r.Get("dists/" + suite + "/main/binary-amd64/Packages")
		var got []string
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "Package: "); ok {
				got = append(got, strings.TrimSpace(name))
			}
		}
		if !ok || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", suite, got, want)
		}
	}
}

func TestFaultsComeInOrderAndEnd(t *testing.T) {
	t.Parallel()
	r := NewRepository(t)
	r.Inject("InRelease", Fault{Status: http.StatusServiceUnavailable}, Fault{Corrupt: true}, Fault{Truncate: true})
	good, _ := r.Get("dists/trixie/InRelease")
	client := r.Client()
	get := func() (int, string, error) {
		resp, err := client.Get(r.URL() + "/dists/trixie/InRelease")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(data), err
	}
	if status, _, _ := get(); status != http.StatusServiceUnavailable {
		t.Errorf("first: status %d", status)
	}
	if _, data, err := get(); err != nil || data == string(good) || len(data) != len(good) {
		t.Errorf("second: %d bytes, %v", len(data), err)
	}
	if _, data, err := get(); err == nil {
		t.Errorf("third: %d bytes and no error", len(data))
	}
	if _, data, err := get(); err != nil || data != string(good) {
		t.Errorf("fourth: %d bytes, %v", len(data), err)
	}
	if n := r.Count("InRelease"); n != 4 {
		t.Errorf("%d requests are counted", n)
	}
}

func TestClientTalksToItsRepositoryOnly(t *testing.T) {
	t.Parallel()
	a, b := NewRepository(t), NewRepository(t)
	if resp, err := a.Client().Get(b.URL()); err == nil {
		_ = resp.Body.Close()
		t.Error("another address is answered")
	}
}
