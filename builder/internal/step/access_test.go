// SPDX-License-Identifier: Apache-2.0

package step

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
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
	for _, tt := range []struct {
		step Step
		at   string
	}{{Command{}, accessDir}, {Hook{Script: "/home/alice/hook", Copy: "/no/copy"}, TargetDir + accessDir}} {
		f, toolbox := targettest.New(t, map[string]string{"/usr/sbin/": ""}), targettest.New(t, nil)
		s := &Context{Target: f, FreshToolbox: targettest.Always(toolbox), Archives: t.TempDir(), Access: access,
			Out: NewTail(nil), Log: slog.New(slog.DiscardHandler)}
		if err := tt.step.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if tt.step.Kind() == "hook" {
			f = toolbox
		}
		if !slices.Contains(f.Env[0], "APT_CONFIG="+accessDir+"/apt.conf") ||
			!slices.ContainsFunc(f.Mounts[0], func(m specs.Mount) bool { return m.Destination == tt.at }) {
			t.Errorf("%s: got %q and %v", tt.step.Kind(), f.Env[0], f.Mounts[0])
		}
	}
}
