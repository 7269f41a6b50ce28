// SPDX-License-Identifier: Apache-2.0

package step

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/dpkg"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// aptTarget is a target whose apt is the host's, with directories of the target. Its only source is uri.
type aptTarget struct {
	*targettest.Target
	t *testing.T
}

func newAptTarget(t *testing.T, uri, keyring string) *aptTarget {
	t.Helper()
	f := &aptTarget{t: t, Target: targettest.New(t, map[string]string{
		"/var/lib/apt/lists/partial/": "", "/var/cache/apt/archives/partial/": "", "/var/lib/dpkg/status": "",
		"/usr/sbin/": "", "/etc/apt/sources.list": "deb [arch=amd64 signed-by=" + keyring + "] " + uri + " trixie main\n",
	})}
	apt := diskimagetest.Tool(t, "apt-get")
	f.On = func(args []string, out io.Writer) error {
		if args[0] != "apt-get" {
			return nil
		}
		run := slices.Concat(args[1:], []string{
			"--download-only", "-o", "Dir=" + f.Dir, "-o", "Dir::State::status=" + f.Path("/var/lib/dpkg/status"),
			"-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
			"-o", "Acquire::http::Proxy=DIRECT", "-o", "Acquire::https::Proxy=DIRECT", "-o", "Acquire::Retries=0"})
		cmd := exec.Command(apt, run...)
		cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C",
			"APT_CONFIG=" + f.aptConf()}, out, out
		return cmd.Run()
	}
	return f
}

// aptConf returns the name of a copy of the configuration that apt would have read, with names of the host, and without
// the host's own configuration.
func (f *aptTarget) aptConf() string {
	f.t.Helper()
	dir := f.t.TempDir()
	name := filepath.Join(dir, "host.conf")
	conf := "Dir::Etc::parts \"-\"; Dir::Etc::main \"/dev/null\";\n"
	mounts := f.Mounts[len(f.Mounts)-1]
	if i := slices.IndexFunc(mounts, func(m specs.Mount) bool { return m.Destination == accessDir }); i >= 0 {
		if err := os.CopyFS(dir, os.DirFS(mounts[i].Source)); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, kv := range f.Env[len(f.Env)-1] {
		if file, ok := strings.CutPrefix(kv, "APT_CONFIG="+accessDir); ok {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				f.t.Fatal(err)
			}
			conf += strings.ReplaceAll(string(text), accessDir, dir)
		}
	}
	if err := os.WriteFile(name, []byte(conf), 0o644); err != nil {
		f.t.Fatal(err)
	}
	return name
}

// install updates the lists and installs the package hello, and returns what apt said.
func (f *aptTarget) install(o AccessOptions, update bool) (string, error) {
	f.t.Helper()
	access, err := NewAccess(filepath.Join(f.t.TempDir(), "access"), o)
	if err != nil {
		f.t.Fatal(err)
	}
	var log logWriter
	s := &Context{Target: f, Archives: f.t.TempDir(), Access: access, Out: NewTail(nil), Log: slog.New(
		slog.NewTextHandler(&log, nil))}
	err = AptInstall{Packages: []string{"hello"}, Update: update}.Run(f.t.Context(), s)
	return string(log) + s.Out.String(), err
}

type logWriter []byte

func (w *logWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// Issue 15, 10: --debootstrapopts no-check-gpg was for debootstrap alone, and apt refused each package.
func TestAptTakesUnsignedPackagesIfToldSo(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	keyring := archivetest.NewRepository(t).KeyringFile()
	for _, unauthenticated := range []bool{false, true} {
		f := newAptTarget(t, repo.URL(), keyring)
		text, err := f.install(AccessOptions{Unauthenticated: unauthenticated}, true)
		if (err == nil) != unauthenticated {
			t.Errorf("unauthenticated %t: got %v\n%s", unauthenticated, err, text)
		}
		if exists, _ := filepath.Glob(f.Path("/var/cache/apt/archives/hello_*.deb")); len(exists) > 0 != unauthenticated {
			t.Errorf("unauthenticated %t: %q\n%s", unauthenticated, exists, text)
		}
	}
}

func TestAptTakesExpiredSuitesIfToldSo(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	repo.Configure(archivetest.Options{ValidUntil: time.Date(2025, time.January, 8, 0, 0, 0, 0, time.UTC)})
	for _, allow := range []bool{false, true} {
		text, err := newAptTarget(t, repo.URL(), repo.KeyringFile()).install(AccessOptions{AllowExpired: allow}, true)
		if (err == nil) != allow {
			t.Errorf("allow %t: got %v\n%s", allow, err, text)
		}
	}
}

// Commands and hooks install packages in the same way as apt.install.
func TestHooksReachTheMirrorAsAptDoes(t *testing.T) {
	t.Parallel()
	access, err := NewAccess(filepath.Join(t.TempDir(), "access"), AccessOptions{Unauthenticated: true})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(filepath.Join(access.dir, aptConf))
	if err != nil || !strings.Contains(string(conf), `Dir::Bin::dpkg "`+dpkg.Path+`";`) {
		t.Errorf("apt.conf: %q, %v", conf, err)
	}
	for _, tt := range []struct {
		step Step
		root string
	}{{Command{}, ""}, {Hook{Script: "/home/alice/hook", Copy: "/no/copy"}, TargetDir}} {
		f, toolbox := targettest.New(t, map[string]string{"/usr/sbin/": ""}), targettest.New(t, nil)
		s := &Context{Target: f, Toolbox: toolbox, FreshToolbox: targettest.Always(toolbox),
			Archives: t.TempDir(), Access: access,
			Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
		if err := tt.step.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if tt.step.Kind() == "hook" {
			f = toolbox
		}
		if !slices.Contains(f.Env[0], "APT_CONFIG="+accessDir+"/apt.conf") {
			t.Errorf("%s: got %q", tt.step.Kind(), f.Env[0])
		}
		for _, at := range []string{accessDir, dpkg.Path, dpkg.DerivedDir} {
			if !slices.ContainsFunc(f.Mounts[0], func(m specs.Mount) bool { return m.Destination == tt.root+at }) {
				t.Errorf("%s: nothing is at %s: %v", tt.step.Kind(), tt.root+at, f.Mounts[0])
			}
		}
	}
}

// protected serves a repository over TLS or without to whoever has the credentials joe and p%40ss:1.
func protected(t *testing.T, repo *archivetest.Repository, encrypted bool) (server *httptest.Server, login secret.URL) {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "joe" || password != "p%40ss:1" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		data, ok := repo.Get(strings.TrimPrefix(r.URL.Path, "/debian/"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	})
	if encrypted {
		server = httptest.NewTLSServer(handler)
	} else {
		server = httptest.NewServer(handler)
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	return server, secret.NewURL(server.URL+"/debian").WithLogin("joe", secret.New("p%40ss:1"))
}

// certificate returns the certificate of a server in PEM.
func certificate(server *httptest.Server) []byte {
	if server.Certificate() == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// Issue 14, 7: a company's mirror has a certificate of its own authority, and wants credentials, which are neither in
// the sources of apt nor in debootstrap's arguments. The judges are the host's apt and wget.
func TestCertificatesAndCredentialsReachAptAndDebootstrap(t *testing.T) {
	t.Parallel()
	wget := diskimagetest.Tool(t, "wget")
	repo := archivetest.NewRepository(t)
	repo.Add(archivetest.Deb{Name: "hello"})
	keyring := repo.KeyringFile()
	for _, encrypted := range []bool{false, true} {
		server, mirror := protected(t, repo, encrypted)
		o := AccessOptions{Mirrors: []secret.URL{mirror}, CA: certificate(server)}
		if text, err := newAptTarget(t, mirror.Bare().Reveal(), keyring).install(o, true); err != nil {
			t.Errorf("encrypted %t: %v\n%s", encrypted, err, text)
		}
		for name, without := range map[string]AccessOptions{
			"credentials":     {Mirrors: []secret.URL{mirror.Bare()}, CA: o.CA},
			"the certificate": {Mirrors: []secret.URL{mirror}},
		} {
			if name == "the certificate" && !encrypted {
				continue
			}
			if text, err := newAptTarget(t, mirror.Bare().Reveal(), keyring).install(without, true); err == nil {
				t.Errorf("encrypted %t: apt works without %s:\n%s", encrypted, name, text)
			}
		}

		access, err := NewAccess(filepath.Join(t.TempDir(), "access"), o)
		if err != nil {
			t.Fatal(err)
		}
		toolbox := debootstrapToolbox(t)
		toolbox.On = func(args []string, out io.Writer) error {
			run := []string{"-q", "-O-", "--no-proxy", args[len(args)-1] + "/dists/trixie/InRelease"}
			if encrypted {
				run = append(run, "--ca-certificate="+toolbox.Path("/etc/ssl/certs/ca-certificates.crt"))
			}
			cmd := exec.Command(wget, run...)
			cmd.Env, cmd.Stdout, cmd.Stderr = []string{"HOME=" + toolbox.Path("/root")}, out, out
			return cmd.Run()
		}
		s := &Context{Target: targettest.New(t, map[string]string{"/var/cache/apt/": ""}), Archives: t.TempDir(),
			Toolbox: toolbox, FreshToolbox: targettest.Always(toolbox), Dir: t.TempDir(), Tmp: t.TempDir(),
			Out: NewTail(nil), Access: access,
			Log: slog.New(slog.DiscardHandler)}
		if err := (Debootstrap{Suite: "trixie", Mirror: mirror.Bare()}).Run(t.Context(), s); err != nil {
			t.Errorf("encrypted %t: %v\n%s", encrypted, err, s.Out)
		}
		if info, err := os.Stat(toolbox.Path("/root/.netrc")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("encrypted %t: .netrc: %v, %v", encrypted, info, err)
		}
		for _, text := range append(toolbox.Transcript, toolbox.Env[0]...) {
			if strings.Contains(text, "ss:1") || strings.Contains(text, "joe") {
				t.Errorf("encrypted %t: everybody can read %q", encrypted, text)
			}
		}
	}
}

// Issue 14, 7: names of the host's hosts file resolve while the image is built, and are not in it. What a hook writes
// there is.
func TestNamesOfTheHostAreThereWhileProgramsRun(t *testing.T) {
	t.Parallel()
	hosts := []byte("127.0.0.1\tlocalhost\n192.0.2.1 mirror.example mirror # the mirror\n127.0.1.1 alice.example\n\n# x\n")
	const absent = "(absent)"
	for _, tt := range []struct {
		name, before string
		run          func(f *targettest.Target) error
		want         string
	}{
		{"no file", absent, nil, absent},
		{"a file", "127.0.0.1 localhost\n", nil, "127.0.0.1 localhost\n"},
		{"no newline", "127.0.0.1 localhost", nil, "127.0.0.1 localhost"},
		{"a hook adds a name", "127.0.0.1 localhost\n", func(f *targettest.Target) error {
			text, err := f.ReadFile("/etc/hosts")
			return errors.Join(err, f.WriteFile("/etc/hosts", append(text, "192.0.2.7 own\n"...), 0o644))
		}, "127.0.0.1 localhost\n192.0.2.7 own\n"},
		{"a hook makes the file", absent, func(f *targettest.Target) error {
			return f.WriteFile("/etc/hosts", []byte("192.0.2.7 own\n"), 0o644)
		}, "192.0.2.7 own\n"},
		{"a hook removes the file", "127.0.0.1 localhost\n",
			func(f *targettest.Target) error { return f.Remove("/etc/hosts") }, absent},
		{"a hook makes it a link", absent, func(f *targettest.Target) error { return f.Symlink("hosts.d/all", "/etc/hosts") },
			"-> hosts.d/all"},
	} {
		f := targettest.New(t, map[string]string{"/etc/": ""})
		if tt.before != absent {
			if err := f.WriteFile("/etc/hosts", []byte(tt.before), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		during := ""
		f.On = func([]string, io.Writer) error {
			during = f.Readable("/etc/hosts")
			if tt.run == nil {
				return nil
			}
			return tt.run(f)
		}
		access, err := NewAccess(filepath.Join(t.TempDir(), "access"), AccessOptions{Hosts: hosts})
		if err != nil {
			t.Fatal(err)
		}
		s := &Context{Target: f, Access: access, Out: NewTail(nil), Archives: t.TempDir()}
		if err := f.MkdirAll("/usr/sbin", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := (Command{}).Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(during, "192.0.2.1 mirror.example mirror\n") || !strings.Contains(during, "::1 localhost\n") ||
			strings.Contains(during, "alice") {
			t.Errorf("%s: while the program ran, the file was %q", tt.name, during)
		}
		if got := f.Readable("/etc/hosts"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
